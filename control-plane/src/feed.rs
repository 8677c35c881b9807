//! The latest applied commands, for those who follow them.
