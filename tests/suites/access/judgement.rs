//! The judgement of the product against a second opinion (`gatemq_tests::acl::oracle`) on files of
//! users, clients and topics that a seed makes.

use std::thread;

use gatemq_gateway::acl;
use gatemq_tests::{
    acl::{Action, oracle, random},
    history::Random,
};

const N_FILES: usize = 1_200;
const N_CLIENTS: usize = 50;
const N_TOPICS: usize = 20;

/// How often each was said.
#[derive(Default)]
struct Said {
    allowed: usize,
    denied: usize,
    refused: usize,
}

#[test]
fn c7_a_million_judgements_are_what_the_documents_say() {
    let mut random = Random::from_env("judgements");
    let judges: [_; 2] = [random.fork(), random.fork()].map(|mut random| {
        thread::spawn(move || {
            let mut said = Said::default();
            for _ in 0..N_FILES / 2 {
                judge_one_file(&mut random, &mut said);
            }
            said
        })
    });
    let said = judges.map(|judge| judge.join().expect("no two opinions"));
    let sum = |of: fn(&Said) -> usize| said.iter().map(of).sum::<usize>();
    let (allowed, denied) = (sum(|said| said.allowed), sum(|said| said.denied));
    assert!(allowed + denied >= 1_000_000, "{allowed} + {denied}");
    let few = (allowed + denied) / 20;
    assert!(allowed > few && denied > few, "{allowed}, {denied}");
    assert!(sum(|said| said.refused) > 0, "client ids of others");
}

fn judge_one_file(random: &mut Random, said: &mut Said) {
    let file = random::file(random);
    let yaml = file.yaml();
    let ours = acl::File::parse(&yaml, "users.yml").unwrap_or_else(|why| panic!("{why}\n{yaml}"));
    let mut n_judged = 0;
    while n_judged < N_CLIENTS * N_TOPICS {
        let caller = random::caller(random);
        let (username, client_id, at) = (caller.username, caller.client_id, caller.address);
        let client = ours.client(client_id, username, at);
        let known = client.as_ref().filter(|client| client.is_known);
        let who = file.who(username, client_id, at);
        assert_eq!(known.is_some(), who.is_some(), "{caller:?}\n{yaml}");
        let (Some(client), Some(who)) = (known, who) else {
            said.refused += 1;
            n_judged += 1; // it ends, whoever there is
            continue;
        };
        for n_topic in 0..N_TOPICS {
            let (action, asked) = match n_topic % 4 {
                0 => (Action::Publish, random::topic(random)),
                1 => (Action::Subscribe, random::topic(random)),
                2 => (Action::Publish, random::topic(random)),
                _ => (Action::Subscribe, random::filter(random)),
            };
            let verdict = client.judge(ours_of(action), &asked);
            let expected = oracle::allowed(&file, &who, action, &asked);
            assert_eq!(
                verdict.is_allowed, expected,
                "{verdict}: {who:?} {action:?} {asked:?}\n{yaml}"
            );
            if let acl::Because::Rule(at) = verdict.because {
                let rules = file.rules.as_deref().unwrap_or_default();
                assert_eq!(rules[at].allow, expected, "{verdict}\n{yaml}");
            }
            match expected {
                true => said.allowed += 1,
                false => said.denied += 1,
            }
        }
        n_judged += N_TOPICS;
    }
}

fn ours_of(action: Action) -> acl::Action {
    match action {
        Action::Publish => acl::Action::Publish,
        Action::Subscribe => acl::Action::Subscribe,
    }
}
