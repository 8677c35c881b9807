//! Files as traces come, go and are gone on with, and disks that take nothing.

use super::*;
use crate::proto::cluster::state::{Trace, TraceKind};

fn wanted(name: &str, at: u64) -> Arc<Wanted> {
    let trace = Trace {
        name: name.to_owned(),
        kind: TraceKind::ClientId.into(),
        value: "dev-1".to_owned(),
        at,
        until: at + 60_000,
        ..Trace::default()
    };
    let wanted = Wanted::of(&trace, "g1", Clock::start().now());
    Arc::new(wanted.expect("a trace"))
}

fn files(folder: &Path) -> Files {
    Files::new(folder.to_owned(), "g1".into(), Clock::start())
}

fn work(kept: &[&Arc<Wanted>], lines: &[(&Arc<Wanted>, &str)]) -> Work {
    let kept: Vec<_> = kept.iter().map(|wanted| (*wanted).clone()).collect();
    let lines = lines.iter();
    let lines = lines.map(|(wanted, line)| ((*wanted).clone(), format!("{line}\n").into()));
    Work {
        kept: Some(kept).filter(|kept| !kept.is_empty()),
        lines: lines.collect(),
    }
}

/// What a file has behind its first line.
fn body(folder: &Path, wanted: &Wanted) -> String {
    let text = fs::read_to_string(path(folder, &wanted.name)).expect("a file");
    let body = text.strip_prefix(&*wanted.head).map(str::to_owned);
    body.expect("a head")
}

#[test]
fn a_trace_is_gone_on_with_after_a_restart_and_begun_anew_by_another_of_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("traces");
    let (one, other) = (wanted("one", 1), wanted("one", 2));
    let mut before = files(&folder);
    before
        .carry_out(work(&[&one], &[(&one, "a")]))
        .expect("written");
    assert_eq!(body(&folder, &one), "a\n");
    drop(before);
    let half = OpenOptions::new().append(true).open(path(&folder, "one"));
    half.and_then(|mut file| file.write_all(b"ha"))
        .expect("half a line");
    let mut after = files(&folder);
    let same = wanted("one", 1);
    let done = after.carry_out(work(&[&same], &[(&same, "b")]));
    done.expect("written");
    assert_eq!(body(&folder, &one), "a\nb\n");
    // Lines that had been on their way for the one before are for nobody.
    let done = after.carry_out(work(&[&other], &[(&same, "c"), (&other, "d")]));
    done.expect("written");
    assert_eq!(body(&folder, &other), "d\n");
    let mut again = files(&folder);
    let done = again.carry_out(work(&[&wanted("one", 3)], &[]));
    done.expect("written");
    assert_eq!(body(&folder, &wanted("one", 3)), "");
}

#[test]
fn files_of_traces_that_are_there_no_more_go_and_other_files_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (one, two) = (wanted("one", 1), wanted("two", 1));
    let mut before = files(folder);
    before.carry_out(work(&[&one, &two], &[])).expect("written");
    for other in ["Not-Ours.jsonl", "notes.txt"] {
        fs::write(folder.join(other), "x").expect("written");
    }
    two.end();
    let mut after = files(folder);
    after.carry_out(work(&[&two], &[])).expect("done");
    let names = fs::read_dir(folder).expect("a folder").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a name")
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["Not-Ours.jsonl", "notes.txt", "two.jsonl"]);
}

#[test]
fn a_file_that_is_full_says_so_once_and_the_trace_is_over_even_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let one = wanted("one", 1);
    let mut before = files(folder);
    let long = "x".repeat(MOST as usize / 4 - 1);
    for _ in 0..6 {
        before
            .carry_out(work(&[], &[(&one, &long)]))
            .expect("written");
    }
    assert!(one.is_over(0));
    let is_as_it_was = || {
        let text = fs::read(path(folder, "one")).expect("a file");
        assert!(text.ends_with(format!("x\n{FULL}").as_bytes()));
        assert!(text.len() as u64 <= MOST, "{}", text.len());
    };
    is_as_it_was();
    let same = wanted("one", 1);
    let mut after = files(folder);
    let done = after.carry_out(work(&[&same], &[(&same, "short")]));
    done.expect("done");
    assert!(same.is_over(0));
    is_as_it_was();
}

#[test]
fn what_a_disk_did_not_take_is_counted_and_told_when_it_takes_something_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("traces");
    fs::write(&folder, "no folder").expect("written");
    let one = wanted("one", 1);
    let mut files = files(&folder);
    let lines: &[(&Arc<Wanted>, &str)] = &[(&one, "a"), (&one, "b")];
    assert!(files.carry_out(work(&[&one], lines)).is_err());
    assert_eq!(one.n_lost.load(Ordering::Relaxed), 2);
    fs::remove_file(&folder).expect("removed");
    files.carry_out(work(&[], &[(&one, "c")])).expect("written");
    let of_lost = |text: &str, expected: u64| {
        let line: serde_json::Value = serde_json::from_str(text).expect("an object");
        assert_eq!(line["event"], "lost");
        assert_eq!(line["lines"], expected);
    };
    let text = body(&folder, &one);
    let (first, lost) = text.split_once('\n').expect("two lines");
    assert_eq!(first, "c");
    of_lost(lost, 2);
    // A disk that is full, after another one was lost.
    let open = files.open.get_mut("one").expect("it is open");
    one.n_lost.store(1, Ordering::Relaxed);
    open.put("d\n");
    open.tell_of_lost("g1");
    assert!(open.flush(false).is_err());
    assert_eq!(one.n_lost.load(Ordering::Relaxed), 2);
    assert_eq!(body(&folder, &one), text);
    files.carry_out(work(&[], &[(&one, "e")])).expect("written");
    let last = body(&folder, &one);
    of_lost(last.lines().last().expect("lines"), 2);
}
