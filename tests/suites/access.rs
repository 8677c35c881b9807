//! Who may connect, and what they may do: every way by which a message could reach somebody who may
//! not have it, or come from somebody who may not send it.
//!
//! What brokers have got wrong about it, and where it is tried here (`oracle` goes over all ways of
//! a message, with rules, clients and topics from a seed):
//!
//! | | known mistakes | tests |
//! |---|---|---|
//! | C1 | a client id taken over by somebody else | `owner` |
//! | C2 | wills that their client may not publish | `connect::c2_a_will_that_its_client_may_not_publish_is_refused`, `owner::a_will_of_somebody_else_is_not_set_off`, `wills`, `bans`, `oracle` |
//! | C3 | denied messages that come retained, queued or again | `topics::c3_what_is_denied_is_not_delivered_by_any_way`, `oracle` |
//! | C4 | rights that are taken away and still there | `reload`, `oracle`, `bans` |
//! | C5 | groups that get what their members may not have | `topics::c6_each_filter_gets_its_own_answer`, `topics::c5_a_shared_message_goes_to_a_member_who_may_have_it`, `groups`, `oracle` |
//! | C6 | only the first filter looked at | `topics::c6_each_filter_gets_its_own_answer` |
//! | C7 | filters of rules that match otherwise than filters | `judgement`; in the gateway `auth::rules::tests` |
//! | C8 | names with `+`, `#`, `/`, `$`, `%` in them | `names::c8_a_name_that_means_something_opens_nothing`, `judgement` |
//! | C9 | one topic judged, another one published | `topics::c9_a_publish_that_is_denied_reaches_nobody` (aliases), `oracle`; nothing rewrites topics |
//! | C10 | topics of the broker | `names::c10_topics_of_the_broker_are_nobodys`, `bad_input::topics` |
//! | C11 | what is wrong or missing lets everybody in | `start`, `reload::a_file_that_is_wrong_changes_nothing`, `redis`, `redis_servers`, `sql`, `sql_tls`, `http`, `jwt`, `bad_input::descriptors`; F27 of the faults |
//! | C12 | who a client is by TLS or PROXY | `names::c12_rules_go_by_the_address_that_a_listed_proxy_names`, `certificates`, `listeners::proxy`, `listeners::tls`; in the gateway `listen::certificate` |
//! | C13 | guesses without a limit, names found out by time | `scram`; in the gateway `auth::password`, `auth::backoff`, `auth::scram` |
//! | C14 | passwords that are there from the start | `start::c14_nobody_is_known_by_default` |

mod bans;
mod certificates;
mod connect;
mod groups;
mod http;
mod judgement;
mod jwt;
mod metrics;
mod names;
mod oracle;
mod owner;
mod pki;
mod redis;
mod redis_servers;
mod refused;
mod reload;
mod scene;
mod scram;
mod sql;
mod sql_tls;
mod start;
mod token;
mod topics;
mod web;
mod wills;
