//! When learners become voters, and which.

use super::*;

fn node(number: u64) -> Node {
    Node {
        name: format!("c{number}"),
        address: format!("c{number}:1"),
    }
}

fn moved(number: u64) -> Node {
    Node {
        address: format!("c{number}:2"),
        ..node(number)
    }
}

/// Number 1 leads; all nodes are known and where they should be.
fn view(voters: &[u64], learners: &[u64], control_size: usize) -> View {
    let all = voters.iter().chain(learners);
    View {
        own: 1,
        control: all.clone().copied().collect(),
        voters: vec![set(voters)],
        nodes: all.clone().map(|number| (*number, node(*number))).collect(),
        announced: all.map(|number| (*number, node(*number))).collect(),
        ready: set(learners),
        answering: set(voters),
        control_size,
    }
}

fn set(numbers: &[u64]) -> BTreeSet<u64> {
    numbers.iter().copied().collect()
}

#[track_caller]
fn check(view: &View, expected: impl Into<Option<Step>>) {
    assert_eq!(view.next_step(), expected.into());
}

#[test]
fn voters_grow_in_whole_steps() {
    check(&view(&[1], &[], 3), None);
    check(&view(&[1], &[4], 3), None);
    check(&view(&[1], &[4, 5], 3), Step::Promote(set(&[4, 5])));
    check(&view(&[1], &[4, 5, 6, 7], 5), Step::Promote(set(&[4, 5])));
    check(&view(&[1, 4, 5], &[6], 5), None);
    check(&view(&[1, 4, 5], &[6, 7], 5), Step::Promote(set(&[6, 7])));
}

#[test]
fn voters_do_not_grow_beyond_the_declared_size() {
    check(&view(&[1], &[4, 5], 1), None);
    check(&view(&[1, 4, 5], &[6, 7], 3), None);
}

#[test]
fn only_learners_that_are_ready_are_promoted() {
    let mut view = view(&[1], &[4, 5, 6], 3);
    view.ready = set(&[4, 6]);
    check(&view, Step::Promote(set(&[4, 6])));
    view.ready = set(&[6]);
    check(&view, None);
}

#[test]
fn a_voter_that_is_missing_is_made_good_from_the_learners() {
    check(&view(&[1, 4], &[6], 3), Step::Promote(set(&[6])));
    check(&view(&[1, 4, 5, 6], &[7], 5), Step::Promote(set(&[7])));
}

#[test]
fn a_change_that_was_left_half_done_is_finished_first() {
    let mut view = view(&[1], &[4, 5], 3);
    view.voters = vec![set(&[1]), set(&[1, 4, 5])];
    check(&view, Step::Finish(set(&[1, 4, 5])));
}

#[test]
fn a_node_that_has_come_back_with_its_number_is_taken_in() {
    let mut view = view(&[1], &[], 3);
    view.control = set(&[1, 4, 5]);
    check(&view, None);
    view.announced.insert(5, node(5));
    check(&view, Step::AddLearner(5, node(5)));
    view.control = set(&[1]);
    check(&view, None);
}

#[test]
fn the_dismissed_leave_the_leader_last() {
    let mut view = view(&[1, 4, 5], &[6], 3);
    view.control = set(&[5]);
    check(&view, Step::RemoveVoter(4));
    view.nodes.remove(&4);
    view.voters = vec![set(&[1, 5])];
    check(&view, Step::RemoveLearner(6));
    view.nodes.remove(&6);
    check(&view, Step::RemoveVoter(1));
}

#[test]
fn nobody_leaves_because_it_is_silent() {
    let mut view = view(&[1, 4, 5], &[], 3);
    view.announced.clear();
    view.ready.clear();
    check(&view, None);
}

#[test]
fn whoever_moves_stays_what_it_is() {
    let mut view = view(&[1, 4, 5], &[6], 3);
    view.answering.clear();
    for number in [1, 4, 5, 6] {
        view.announced.insert(number, moved(number));
        check(&view, Step::Move(number, moved(number)));
        view.nodes.insert(number, moved(number));
        check(&view, None);
    }
}

#[test]
fn one_that_is_dismissed_does_not_move() {
    let mut view = view(&[1], &[4], 3);
    view.control.remove(&1);
    view.announced.insert(1, moved(1));
    check(&view, None);
}

#[test]
fn a_leader_that_leaves_leaves_the_rest_to_the_next() {
    let mut view = view(&[1, 4, 5], &[], 3);
    view.control.remove(&1);
    check(&view, Step::RemoveVoter(1));
    view.voters = vec![set(&[4, 5])];
    view.nodes.remove(&1);
    view.announced.remove(&1);
    check(&view, None);
}

/// It was dismissed while all were there, and since then another one is gone: with it the last
/// quorum would go.
#[test]
fn a_voter_that_is_needed_stays_until_others_are_back() {
    let mut view = view(&[1, 4, 5], &[], 3);
    view.control.remove(&5);
    view.answering = set(&[5]);
    check(&view, None);
    // Another node may come meanwhile.
    view.control.insert(8);
    view.announced.insert(8, node(8));
    check(&view, Step::AddLearner(8, node(8)));
    view.answering = set(&[4]);
    check(&view, Step::RemoveVoter(5));
    // Nor does it stand in the way of one that is gone and has been dismissed, too.
    view.control.remove(&4);
    view.announced.remove(&8);
    view.answering = set(&[4]);
    check(&view, Step::RemoveVoter(5));
    view.answering = set(&[5]);
    check(&view, Step::RemoveVoter(4));
}
