//! I6, honest answers: a session that was there is there again, and one that ended, or that no
//! client of that name ever had, is not (Session Present); with a session an open exchange of QoS 2 is
//! there; what was first sent after UNSUBACK does not come. That what was first sent after SUBACK comes, by whichever gateway, is I1. Source:
//! `[MQTT-3.2.2-2]`, `[MQTT-3.2.2-3]`, `[MQTT-3.10.4-1]`, `[MQTT-4.3.3-11]`, P2, P3.
//!
//! An exchange is open from PUBREC to PUBCOMP, on that connection and on later ones to which the session
//! is said to be present. Whoever sends PUBREL again may have missed the PUBCOMP to the first one:
//! then it may be over, and not known any more.
//!
//! A session may be there although no CONNACK told so, if one was lost on its way: who says nothing
//! of its CONNECTs forgoes that a session is not invented. Each history has client ids of its own,
//! so the first CONNECT of one finds nothing. Receipts after UNSUBACK are found by I2, which looks
//! at each receipt.

use std::collections::HashMap;

use super::{Picture, Verdict, Violation};
use crate::history::{Event, Uid};

/// What the client knows of its session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    /// CONNACK came, and nothing ended it since.
    There,
    /// It ended, or never was; so many CONNECTs went out since.
    Absent(u32),
    /// Nobody can tell.
    Open,
}

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let mut sessions: HashMap<&str, Session> = HashMap::new();
    // Where PUBREC came, and which connections were told of a session.
    let mut open: HashMap<&Uid, u32> = HashMap::new();
    let mut present: HashMap<(&str, u32), bool> = HashMap::new();
    for record in picture.records {
        match &record.event {
            Event::Connecting {
                client,
                clean_start,
                ..
            } => {
                let session = sessions.entry(client).or_insert(Session::Absent(0));
                *session = match *session {
                    Session::Absent(n_attempts) => Session::Absent(n_attempts + 1),
                    _ if *clean_start => Session::Open,
                    session => session,
                };
            }
            Event::Accepted { uid, connection } => {
                open.insert(uid, *connection);
            }
            Event::Unknown {
                uid,
                connection,
                released_before: false,
            } => {
                let is_same = open.get(uid) == Some(connection);
                let is_present = present.get(&(&*uid.publisher, *connection));
                let is_open = open.contains_key(uid) && is_present == Some(&true);
                if is_same || is_open {
                    let found = Violation::ExchangeForgotten { uid: uid.clone() };
                    verdict.violations.push(found);
                }
            }
            Event::Connected {
                client,
                connection,
                session_present,
                clean_start,
                ..
            } => {
                present.insert((client, *connection), *session_present);
                let before = sessions.insert(client, Session::There);
                let was_there = before == Some(Session::There);
                let is_absent = *clean_start || before == Some(Session::Absent(1));
                let client = client.clone();
                if was_there && !session_present && !clean_start {
                    verdict.violations.push(Violation::SessionLost { client });
                } else if is_absent && *session_present {
                    let found = Violation::SessionInvented { client };
                    verdict.violations.push(found);
                }
            }
            Event::SessionEnded { client, .. } => {
                sessions.insert(client, Session::Absent(0));
            }
            _ => {}
        }
    }
}
