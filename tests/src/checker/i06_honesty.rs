//! I6, honest answers: a session that was there is there again, and one that ended, or that no
//! client of that name ever had, is not (Session Present); what was first sent after UNSUBACK does
//! not come. That what was first sent after SUBACK comes, by whichever gateway, is I1. Source:
//! `[MQTT-3.2.2-2]`, `[MQTT-3.2.2-3]`, `[MQTT-3.10.4-1]`, P2, P3.
//!
//! A session may be there although no CONNACK told so, if one was lost on its way: who says nothing
//! of its CONNECTs forgoes that a session is not invented. Each history has client ids of its own,
//! so the first CONNECT of one finds nothing. Receipts after UNSUBACK are found by I2, which looks
//! at each receipt.

use std::collections::HashMap;

use super::{Picture, Verdict, Violation};
use crate::history::Event;

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
            Event::Connected {
                client,
                session_present,
                clean_start,
                ..
            } => {
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
