//! The server that gateways ask who a client is, and what it may do. It answers as it is told to, and
//! keeps to whom it has said yes.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::Value;

use crate::{
    patience::pause,
    web::{Act, Web, say},
};

/// Users that it knows are called so, and a number.
pub(super) const KNOWN_HERE: &str = "web-";
/// Users of whom it knows nothing, and the other source does.
pub(super) const KNOWN_THERE: &str = "row-";
/// Where nobody may publish or subscribe.
pub(super) const SECRET: &str = "secret";

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Truly, at once.
    Well,
    /// Truly, after this time.
    Late(Duration),
    /// It begins to answer, and says nothing.
    Silent,
    /// With what is no answer; each time with something else.
    Garbled,
}

/// A running server.
pub(super) struct Desk {
    web: Web,
    state: Arc<State>,
}

struct State {
    mood: Mutex<Mood>,
    welcomed: Mutex<HashSet<String>>,
    n_garbled: AtomicUsize,
}

/// What is neither yes nor no, neither rules nor none, though it looks like it.
const GARBAGE: [fn() -> Act; 20] = [
    || say("yes"),
    || say(""),
    || say("01"),
    || say("1 1"),
    || say("true"),
    || say("\"1\""),
    || say("1".repeat(100_000)),
    || say(r#"{"result": "allow""#),
    || say(r#"{"result": "Allow"}"#),
    || say(r#"{"result": ["allow"]}"#),
    || say(r#"{"result": "deny", "result": "allow"}"#),
    || say(r#"[{"permission": "allow"}]"#),
    || Act::Say(201, "1".to_owned()),
    || Act::Say(500, "1".to_owned()),
    || Act::Say(503, r#"{"result": "allow"}"#.to_owned()),
    || Act::Send(Vec::new()),
    || Act::Send(vec![0xFF; 4096]),
    || Act::Send(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n1".to_vec()),
    || Act::Send(b"HTTP/1.1 302 x\r\nlocation: /auth\r\ncontent-length: 1\r\n\r\n1".to_vec()),
    || Act::Hang(b"HTTP/1.1 200 x\r\ncontent-length: 1\r\n\r\n".to_vec()),
];

/// The password of a user.
pub(super) fn password(username: &str) -> String {
    format!("of-{username}")
}

// === impl Desk ===

impl Desk {
    pub(super) fn start() -> Self {
        let state = Arc::new(State {
            mood: Mutex::new(Mood::Well),
            welcomed: Mutex::default(),
            n_garbled: AtomicUsize::new(0),
        });
        let asked = Arc::clone(&state);
        let web = Web::start(move |request| asked.answer(request));
        Self { web, state }
    }

    /// What it listens with.
    pub(super) fn web(&self) -> &Web {
        &self.web
    }

    /// It answers so from now on.
    pub(super) fn set(&self, mood: Mood) {
        *self
            .state
            .mood
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Whether it has said yes to this client by now, or is about to.
    pub(super) fn has_welcomed(&self, client: &str) -> bool {
        let welcomed = self.state.welcomed.lock();
        let welcomed = welcomed.unwrap_or_else(PoisonError::into_inner);
        welcomed.contains(client)
    }
}

// === impl State ===

impl State {
    fn answer(&self, request: &str) -> Act {
        let mood = *self.mood.lock().unwrap_or_else(PoisonError::into_inner);
        match mood {
            Mood::Well => {}
            Mood::Late(time) => pause(time),
            Mood::Silent => return Act::Hang(b"HTTP/1.1 200 x\r\n".to_vec()),
            Mood::Garbled => {
                let number = self.n_garbled.fetch_add(1, Relaxed);
                return GARBAGE[number % GARBAGE.len()]();
            }
        }
        let (_, body) = request.split_once("\r\n\r\n").unwrap_or_default();
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let field = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
        let (username, client) = (field("username"), field("clientid"));
        if !username.starts_with(KNOWN_HERE) {
            return Act::Say(404, String::new());
        }
        if request.starts_with("POST /acl ") {
            return say(format!(r##"{{"#": 3, "{SECRET}/#": 0}}"##));
        }
        if field("password") != password(username) {
            return say("0");
        }
        let welcomed = self.welcomed.lock();
        let mut welcomed = welcomed.unwrap_or_else(PoisonError::into_inner);
        welcomed.insert(client.to_owned());
        say("1")
    }
}
