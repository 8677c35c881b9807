//! Clients that come while those who know them are well or not, and what they are told: who may come
//! in, who may not, and in which time.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::desk::{Desk, KNOWN_HERE, KNOWN_THERE, password};
use crate::{Connect, Will, faults::Sign, history::Random, patience::pause, traffic::Link, unique};

/// Users of each source that come.
pub(super) const N_USERS: usize = 8;
/// Within this time everybody has an answer: each source may take its second, as often as it is asked.
const BOUND: Duration = Duration::from_secs(10);
/// Milliseconds between two of one who knocks, at most.
const PAUSE: usize = 40;
/// Who knocks at the same time.
const N_KNOCKING: usize = 4;
/// How many mistakes are told one by one.
const N_TOLD: usize = 5;

/// What a client shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Name and password of a user of the server's.
    Web,
    /// The same of the other source's.
    Row,
    /// A name of the server's, with another's password.
    WrongWeb,
    /// The same of the other source's.
    WrongRow,
    /// A name that nobody knows.
    Unknown,
    /// A name and no password.
    NoPassword,
    /// Nothing.
    Nothing,
}

/// A client that has sent its CONNECT.
pub(super) struct Knocking {
    shows: Shows,
    level: u8,
    client: String,
    begun: Instant,
    link: io::Result<Link>,
}

/// What came of it.
struct Knock {
    shows: Shows,
    level: u8,
    client: String,
    begun: Instant,
    ended: Instant,
    answer: Result<u8, String>,
}

/// Everybody who has come by now.
#[derive(Default)]
pub(super) struct Knocks(Mutex<Vec<Knock>>);

/// When nobody could come in.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    pub(super) what: String,
    /// From here on somebody may not have been known: a fault takes its time to begin.
    pub(super) since: Instant,
    /// From here on nobody could be known.
    pub(super) from: Instant,
    /// Up to here.
    pub(super) until: Instant,
    /// By now all was well again.
    pub(super) well: Instant,
}

// === impl Shows ===

impl Shows {
    fn any(random: &mut Random) -> Self {
        match random.below(10) {
            0..3 => Self::Web,
            3..5 => Self::Row,
            5 => Self::WrongWeb,
            6 => Self::WrongRow,
            7 => Self::Unknown,
            8 => Self::NoPassword,
            _ => Self::Nothing,
        }
    }

    /// Whether it is who it says it is.
    fn is_right(self) -> bool {
        matches!(self, Self::Web | Self::Row)
    }

    /// A user that shows this.
    fn connect(self, level: u8, client: &str, number: usize) -> Connect {
        let connect = Connect::new(level, client);
        let name = |prefix: &str, number: usize| format!("{prefix}{}", number % N_USERS);
        let user = |prefix: &str, other: usize| {
            let password = password(&name(prefix, number + other));
            connect
                .clone()
                .username(name(prefix, number))
                .password(password)
        };
        match self {
            Self::Web => user(KNOWN_HERE, 0),
            Self::Row => user(KNOWN_THERE, 0),
            Self::WrongWeb => user(KNOWN_HERE, 1),
            Self::WrongRow => user(KNOWN_THERE, 1),
            Self::Unknown => user("nobody-", 0),
            Self::NoPassword => connect.username(name(KNOWN_HERE, number)),
            Self::Nothing => connect,
        }
    }
}

// === impl Knocking ===

impl Knocking {
    /// Sends a CONNECT. Some of those who must not come in leave a will, which nobody is to see.
    pub(super) fn begin(
        address: SocketAddr,
        shows: Shows,
        client: &str,
        wills: &str,
        random: &mut Random,
    ) -> Self {
        let level = if random.once_in(2) { 4 } else { 5 };
        let mut connect = shows.connect(level, client, random.below(N_USERS));
        if !shows.is_right() && random.once_in(2) {
            connect = connect.will(Will::new(wills, "of nobody").qos(1));
        }
        let begun = Instant::now();
        Self {
            shows,
            level,
            client: client.to_owned(),
            begun,
            link: Link::begin(BOUND, address, &connect),
        }
    }

    /// Waits for the answer; who was let in leaves in order. Whether it was let in.
    pub(super) fn end(self, knocks: &Knocks) -> bool {
        let answered = self.link.and_then(|mut link| {
            let connack = link.answer(BOUND, self.level)?;
            Ok((link, connack.code))
        });
        let ended = Instant::now();
        let (link, answer) = match answered {
            Ok((link, code)) => (Some(link), Ok(code)),
            Err(error) => (None, Err(error.to_string())),
        };
        let is_in = answer == Ok(0);
        if let (true, Some(link)) = (is_in, link) {
            let _late = link.disconnect();
        }
        knocks.add(Knock {
            shows: self.shows,
            level: self.level,
            client: self.client,
            begun: self.begun,
            ended,
            answer,
        });
        is_in
    }
}

// === impl Knocks ===

impl Knocks {
    /// Somebody knocks somewhere, again and again.
    pub(super) fn go_on(
        &self,
        addresses: &[SocketAddr],
        wills: &str,
        random: &mut Random,
        go_on: &AtomicBool,
    ) {
        thread::scope(|scope| {
            for _ in 0..N_KNOCKING {
                let mut random = random.fork();
                scope.spawn(move || {
                    while go_on.load(Relaxed) {
                        let address = addresses[random.below(addresses.len())];
                        let shows = Shows::any(&mut random);
                        let client = unique("knocks");
                        let knocking = Knocking::begin(address, shows, &client, wills, &mut random);
                        knocking.end(self);
                        let wait = u64::try_from(random.below(PAUSE)).expect("small");
                        pause(Duration::from_millis(wait));
                    }
                });
            }
        });
    }

    /// So many knock at one gateway at once.
    pub(super) fn crowd(&self, n: usize, address: SocketAddr, wills: &str, random: &mut Random) {
        let crowd = (0..n).map(|_| {
            let shows = Shows::any(random);
            Knocking::begin(address, shows, &unique("crowd"), wills, random)
        });
        for knocking in crowd.collect::<Vec<_>>() {
            knocking.end(self);
        }
    }

    fn add(&self, knock: Knock) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(knock);
    }

    /// What was not as it must be, some of it in words; and what there was in one line.
    pub(super) fn judge(self, closed: &[Closed], desk: &Desk) -> (Vec<(Sign, String)>, String) {
        let all = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let wrong = all.iter().filter_map(|knock| {
            let why = knock.mistake(closed, desk)?;
            let sign = match &knock.answer {
                Ok(0) if knock.took() <= BOUND => Sign::LetIn,
                _ => Sign::Other,
            };
            Some((sign, format!("{knock}: {why}")))
        });
        let mut wrong: Vec<_> = wrong.collect();
        let n_wrong = wrong.len();
        if n_wrong > N_TOLD {
            wrong.truncate(N_TOLD);
            wrong.push((Sign::Other, format!("{n_wrong} such in all")));
        }
        let n_in = all.iter().filter(|it| it.answer == Ok(0)).count();
        let within = all
            .iter()
            .filter(|it| closed.iter().any(|one| it.is_in(one)));
        let n_within = within.clone().count();
        let longest = all.iter().map(Knock::took).max().unwrap_or_default();
        let told = format!(
            "{} came, {n_in} were let in; {n_within} while that could not be; the longest wait \
             was {longest:.1?}",
            all.len()
        );
        (wrong, told)
    }
}

// === impl Knock ===

impl Knock {
    fn took(&self) -> Duration {
        self.ended - self.begun
    }

    /// Whether it came and was answered while nobody could be known.
    fn is_in(&self, closed: &Closed) -> bool {
        self.begun >= closed.from && self.ended <= closed.until
    }

    /// Whether it may have been hit, or not.
    fn may_be_in(&self, closed: &Closed) -> bool {
        self.begun <= closed.well && self.ended >= closed.since
    }

    fn mistake(&self, closed: &[Closed], desk: &Desk) -> Option<String> {
        let within = closed.iter().find(|one| self.is_in(one));
        // As 3.1.1 and 5.0 call them.
        let [unavailable, bad_login] = match self.level {
            5 => [0x88, 0x86],
            _ => [3, 4],
        };
        match &self.answer {
            Err(error) => Some(format!("no CONNACK: {error}")),
            Ok(0) if !self.shows.is_right() => Some("let in".to_owned()),
            Ok(0) if within.is_some() => Some("let in, and nobody could know it".to_owned()),
            Ok(0) if self.shows == Shows::Web && !desk.has_welcomed(&self.client) => {
                Some("let in, and nobody has said so".to_owned())
            }
            _ if self.took() > BOUND => Some(format!("answered after {:.1?}", self.took())),
            Ok(0) => None,
            Ok(code) if *code == unavailable => {
                let is_hit = closed.iter().any(|one| self.may_be_in(one));
                (!is_hit).then(|| "nobody is known, and all is well".to_owned())
            }
            // A source that is well may say no.
            Ok(code) if *code == bad_login && !self.shows.is_right() => None,
            Ok(code) => Some(format!("told {code:#04x}")),
        }
        .map(|what| match within {
            Some(one) => format!("{what} ({})", one.what),
            None => what,
        })
    }
}

impl std::fmt::Display for Knock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            client,
            shows,
            level,
            ..
        } = self;
        write!(out, "{client} ({shows:?}, level {level})")
    }
}
