//! What a trace of clients names, and its bounds: the same for who asks for one and who agrees. Pure.

use super::bans::{self, BY};
use super::state::{BanKind, Trace, TraceKind};
use crate::topic::{Bounds, Filter};

/// Traces that a cluster may have, those that are over among them.
pub const MOST: usize = 16;
/// The longest one, in milliseconds.
pub const LONGEST: u64 = 24 * 3_600_000;
/// The longest name, in bytes.
pub const NAME: usize = 64;

/// Looks at a trace that is to be agreed on.
///
/// # Errors
///
/// Which of its fields is wrong, and why.
pub fn check(trace: &Trace) -> Result<(), (&'static str, String)> {
    check_name(&trace.name).map_err(|what| ("name", what))?;
    let kind = TraceKind::try_from(trace.kind).unwrap_or_default();
    let value = canonical(kind, &trace.value).map_err(|what| ("value", what))?;
    if value != trace.value {
        return Err(("value", format!("is written {value}")));
    }
    if trace.until <= trace.at || trace.until - trace.at > LONGEST {
        let what = "is after its beginning, and at most 24 h after it";
        return Err(("until", what.to_owned()));
    }
    if trace.is_over {
        return Err(("is_over", "is true: one that begins goes on".to_owned()));
    }
    if trace.by.len() > BY || trace.by.chars().any(char::is_control) {
        let what = format!("is a text of at most {BY} bytes, without control characters");
        return Err(("by", what));
    }
    Ok(())
}

/// A name is one of a file, too.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=NAME).contains(&name.len()) && name.bytes().all(is_fit) {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is no name: 1 to {NAME} of a to z, 0 to 9 and -"
        )),
    }
}

/// What a trace names, in the form in which it is agreed on.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn canonical(kind: TraceKind, value: &str) -> Result<String, String> {
    match kind {
        TraceKind::Unspecified => Err("is of a kind that this version does not know".to_owned()),
        TraceKind::ClientId => bans::canonical(BanKind::ClientId, value),
        TraceKind::Address => bans::canonical(BanKind::Address, value),
        TraceKind::Topic => match Filter::parse(value, Bounds::NONE) {
            Ok(filter) if filter.share.is_none() => Ok(value.to_owned()),
            Ok(_) => Err("is a shared subscription: name its topic filter".to_owned()),
            Err(error) => Err(format!("{value:?} is no topic filter: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        Trace {
            name: "slow-7".to_owned(),
            kind: TraceKind::ClientId.into(),
            value: "dev-1".to_owned(),
            until: 600_000,
            ..Trace::default()
        }
    }

    fn field(change: impl Fn(&mut Trace)) -> Option<&'static str> {
        let mut trace = trace();
        change(&mut trace);
        check(&trace).err().map(|wrong| wrong.0)
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        assert_eq!(field(|_| ()), None);
        for name in ["", "../etc", "A", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(
                field(|it| it.name = name.to_owned()),
                Some("name"),
                "{name}"
            );
        }
        let of = |kind: TraceKind, value: &str| {
            field(|it| (it.kind, it.value) = (kind.into(), value.to_owned()))
        };
        assert_eq!(of(TraceKind::Topic, "site/+/#"), None);
        assert_eq!(of(TraceKind::Address, "10.0.0.0/8"), None);
        assert_eq!(of(TraceKind::Topic, "a/#/b"), Some("value"));
        assert_eq!(of(TraceKind::Topic, "$share/g/a"), Some("value"));
        assert_eq!(of(TraceKind::Address, "10.1.0.0/8"), Some("value"));
        assert_eq!(of(TraceKind::ClientId, ""), Some("value"));
        assert_eq!(of(TraceKind::Unspecified, "x"), Some("value"));
        assert_eq!(field(|it| it.until = 0), Some("until"));
        assert_eq!(field(|it| it.until = LONGEST + 1), Some("until"));
        assert_eq!(field(|it| it.is_over = true), Some("is_over"));
        assert_eq!(field(|it| it.by = "x".repeat(BY + 1)), Some("by"));
    }
}
