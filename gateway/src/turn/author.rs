//! Who has published a message, as far as groups and bridges ask.

use crate::session::Session;

/// The client of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author<'a> {
    /// Empty for the broker itself.
    pub(crate) client_id: &'a str,
    user: User<'a>,
}

/// Where its user name is looked up: only for a message that a bridge gets.
#[derive(Clone, Copy, Debug)]
enum User<'a> {
    Of(&'a Session),
    Named(&'a str),
}

impl<'a> Author<'a> {
    /// The broker, which has no name.
    pub(crate) const BROKER: Author<'static> = Author::named("", "");

    /// The client of a session that is connected here.
    pub(crate) fn of(session: &'a Session) -> Self {
        Self {
            client_id: &session.client_id,
            user: User::Of(session),
        }
    }

    /// A client of which both names are known.
    pub(crate) const fn named(client_id: &'a str, username: &'a str) -> Self {
        Self {
            client_id,
            user: User::Named(username),
        }
    }

    /// A client of which is known as whom it left a will: see [`crate::auth::Rights::author`].
    pub(crate) fn of_will(client_id: &'a str, principal: &'a str) -> Self {
        let named = match principal.split_once(' ') {
            Some(("user" | "certificate", username)) => username,
            _ => "",
        };
        Self::named(client_id, named)
    }

    /// As whom the client is known: the user name that it has proved to be its own, or where nobody
    /// asks who a client is, the one that it gave. Empty for none.
    pub(crate) fn username(&self) -> Box<str> {
        match self.user {
            User::Named(username) => username.into(),
            User::Of(session) => session.username().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{By, Rights, Who};
    use crate::session::Life;
    use crate::session::outbound::Outbound;
    use std::sync::Arc;

    #[test]
    fn a_user_name_is_the_one_that_was_proved_or_the_one_that_was_given_where_nobody_asks() {
        let life = Life {
            username: Some("given".into()),
            ..Life::default()
        };
        let session = Session::new(1, "c", Outbound::new(true), life);
        assert_eq!(&*Author::of(&session).username(), "given");
        // It gave one, and came in by something else.
        let who = Who {
            client_id: "c",
            username: Some("given"),
            address: None,
            by: By::Nobody,
            brought: None,
        };
        session.rights.store(Some(Arc::new(Rights::of(&who, None))));
        assert_eq!(&*Author::of(&session).username(), "");
    }

    #[test]
    fn a_will_is_of_the_user_that_left_it() {
        let named = |principal| Author::of_will("c", principal).username();
        assert_eq!(&*named("user ann smith"), "ann smith");
        assert_eq!(&*named("certificate ann"), "ann");
        assert_eq!((&*named("client c"), &*named("")), ("", ""));
    }
}
