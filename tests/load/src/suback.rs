//! Subscribes as fast as the brokers let it, or at a rate, with filters that are all distinct: how
//! many they take, and when their SUBACKs come. With `--hold` it keeps what it filled.
use crate::codec;
use crate::modes::{cost, head, r3, table_filter, us, Common, Res};
use crate::net::{Handler, Net};
use crate::procstat::{now_ns, snap, Snap};
use crate::work::hist;
use crate::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use std::collections::{HashMap, VecDeque};

struct Client {
    id: String,
    next_pid: u16,
    /// by packet identifier: when it was sent, or meant to be
    waiting: HashMap<u16, u64>,
    /// when SUBSCRIBEs were meant to be sent that the window holds back
    due: VecDeque<u64>,
    is_open: bool,
}

struct Subscribers {
    ver: u8,
    clients: Vec<Client>,
    base: String,
    groups: usize,
    per_packet: usize,
    window: usize,
    /// filters to subscribe to; the number of the next one
    n: usize,
    next: usize,
    is_closed_loop: bool,
    is_going: bool,
    is_measuring: bool,
    ready: usize,
    failed: usize,
    closed: usize,
    packets: u64,
    filters: u64,
    refused: u64,
    messages: u64,
    hist: Histogram<u64>,
}

impl Subscribers {
    /// The next SUBSCRIBE of a client, if there are filters left and its window is open.
    fn send(&mut self, ci: usize, intended: u64, out: &mut Vec<u8>) -> bool {
        let client = &mut self.clients[ci];
        if self.next >= self.n || client.waiting.len() >= self.window || !client.is_open {
            return false;
        }
        let last = (self.next + self.per_packet).min(self.n);
        let filters: Vec<(String, u8)> = (self.next..last)
            .map(|i| (table_filter(&self.base, self.groups, i), 0))
            .collect();
        self.next = last;
        client.next_pid = client.next_pid.checked_add(1).unwrap_or(1);
        client.waiting.insert(client.next_pid, intended);
        out.extend_from_slice(&codec::subscribe(client.next_pid, self.ver, &filters));
        true
    }

    /// What the client may send now.
    fn feed(&mut self, ci: usize, now: u64, out: &mut Vec<u8>) {
        if !self.is_going {
            return;
        }
        if self.is_closed_loop {
            while self.send(ci, now, out) {}
            return;
        }
        while let Some(&intended) = self.clients[ci].due.front() {
            if !self.send(ci, intended, out) {
                return;
            }
            self.clients[ci].due.pop_front();
        }
    }

    fn n_waiting(&self) -> usize {
        self.clients.iter().map(|c| c.waiting.len()).sum()
    }

    fn is_done(&self) -> bool {
        self.next >= self.n && self.n_waiting() == 0
    }
}

impl Handler for Subscribers {
    fn opened(&mut self, ci: usize, out: &mut Vec<u8>) {
        let id = &self.clients[ci].id;
        out.extend_from_slice(&codec::connect(id, self.ver, 600, true, 0, None));
    }

    fn packet(&mut self, ci: usize, hdr: u8, body: &[u8], now: u64, out: &mut Vec<u8>) {
        match hdr >> 4 {
            codec::CONNACK if body.len() >= 2 && body[1] == 0 => {
                self.clients[ci].is_open = true;
                self.ready += 1;
            }
            codec::CONNACK => self.failed += 1,
            codec::PUBLISH => self.messages += 1,
            codec::SUBACK if body.len() >= 2 => {
                let pid = u16::from_be_bytes([body[0], body[1]]);
                let Some(intended) = self.clients[ci].waiting.remove(&pid) else {
                    return;
                };
                let mut at = 2;
                if self.ver == 5 {
                    let (n, used) = codec::get_varint(&body[2..]).unwrap_or((0, 1));
                    at += n + used;
                }
                let codes = body.get(at..).unwrap_or(&[]);
                let refused = codes.iter().filter(|code| **code >= 0x80).count();
                self.refused += refused as u64;
                self.filters += (codes.len() - refused) as u64;
                self.packets += 1;
                if self.is_measuring {
                    let _ = self.hist.record(now.saturating_sub(intended).max(100));
                }
                self.feed(ci, now, out);
            }
            _ => {}
        }
    }

    fn closed(&mut self, ci: usize) {
        let client = &mut self.clients[ci];
        match client.is_open {
            true => self.closed += 1,
            false => self.failed += 1,
        }
        client.is_open = false;
        client.waiting.clear();
        client.due.clear();
    }
}

/// Whether whoever started this closed its standard input.
fn is_input_over() -> bool {
    let mut poll = libc::pollfd {
        fd: 0,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut byte = 0u8;
    unsafe {
        libc::poll(&mut poll, 1, 0) > 0
            && libc::read(0, std::ptr::addr_of_mut!(byte).cast(), 1) <= 0
    }
}

pub fn run(a: &Args) -> Res {
    let c = Common::new(a)?;
    let n_clients: usize = a.num("clients", 300usize).max(1);
    let per_packet: usize = a.num("batch", 1usize).max(1);
    let rate: f64 = a.num("rate", 0.0);
    let (warm, secs): (f64, f64) = (a.num("warmup", 1.0), a.num("secs", 3.0));
    let is_fill = a.flag("n");
    let mut s = Subscribers {
        ver: c.ver,
        clients: (0..n_clients)
            .map(|i| Client {
                id: format!("b{}-{i}", c.run),
                next_pid: 0,
                waiting: HashMap::new(),
                due: VecDeque::new(),
                is_open: false,
            })
            .collect(),
        base: a.str("base", &format!("tab/{}", c.run)).to_string(),
        groups: a.num("groups", 1000),
        per_packet,
        window: a.num("sub-window", 1usize).max(1),
        n: a.num("n", usize::MAX),
        next: 0,
        is_closed_loop: rate == 0.0,
        is_going: false,
        is_measuring: false,
        ready: 0,
        failed: 0,
        closed: 0,
        packets: 0,
        filters: 0,
        refused: 0,
        messages: 0,
        hist: hist(),
    };
    let mut net = Net::new();
    let end = now_ns() + (a.num("timeout", 120.0) * 1e9) as u64;
    while s.ready + s.failed < n_clients {
        while net.conns.len() < n_clients && net.conns.len() - s.ready - s.failed < c.limit {
            net.open(&c.sub_addrs[net.conns.len() % c.sub_addrs.len()])?;
        }
        net.poll(10_000_000, &mut s);
        if now_ns() > end {
            break;
        }
    }
    if s.ready < n_clients {
        return Err(format!("only {} of {n_clients} clients connected", s.ready));
    }

    // A fill is measured whole; else a part of a run that has begun already.
    let (start, mut next_due) = (now_ns(), now_ns() as f64);
    let step = per_packet as f64 * 1e9 / rate;
    let measure_at = start + if is_fill { 0 } else { (warm * 1e9) as u64 };
    let stop_at = match is_fill {
        true => end,
        false => measure_at + (secs * 1e9) as u64,
    };
    let (mut from, mut turn): (Option<(Snap, u64, u64, u64)>, usize) = (None, 0);
    s.is_going = true;
    if s.is_closed_loop {
        for ci in 0..n_clients {
            s.feed(ci, start, net.out(ci));
        }
    }
    loop {
        let now = now_ns();
        if from.is_none() && now >= measure_at {
            s.is_measuring = true;
            from = Some((snap(&c.pids), s.filters, s.packets, s.refused));
        }
        if now >= stop_at || s.is_done() || s.closed == n_clients {
            break;
        }
        let mut wait = 5_000_000;
        if !s.is_closed_loop {
            while next_due <= now as f64 {
                s.clients[turn].due.push_back(next_due as u64);
                s.feed(turn, now, net.out(turn));
                turn = (turn + 1) % n_clients;
                next_due += step;
            }
            wait = wait.min((next_due - now as f64) as u64);
        }
        net.poll(wait, &mut s);
    }
    let s1 = snap(&c.pids);
    let (s0, filters, packets, refused) =
        from.ok_or("the run was over before it was to be measured")?;
    s.is_measuring = false;
    s.is_going = false;
    let (filters, packets) = (s.filters - filters, s.packets - packets);
    let n_backlog: usize = s.clients.iter().map(|c| c.due.len()).sum();
    // What is still on its way is let in, so that nobody is cut off while waiting.
    let late = now_ns() + (a.num("drain", 15.0) * 1e9) as u64;
    while s.n_waiting() > 0 && now_ns() < late {
        net.poll(10_000_000, &mut s);
    }

    let took = s1.at - s0.at;
    let mut v = head("suback", a);
    v.insert("clients".into(), json!(n_clients));
    v.insert("filters_per_packet".into(), json!(per_packet));
    v.insert("window".into(), json!(s.window));
    v.insert("rate".into(), json!(rate));
    v.insert("secs".into(), json!(r3(took)));
    v.insert("filters".into(), json!(filters));
    v.insert(
        "filters_per_s".into(),
        json!((filters as f64 / took).round()),
    );
    v.insert(
        "packets_per_s".into(),
        json!((packets as f64 / took).round()),
    );
    v.insert("suback_us".into(), us(&s.hist));
    cost(&mut v, &s0, &s1, filters as f64);
    v.insert("refused".into(), json!(s.refused - refused));
    v.insert("closed".into(), json!(s.closed));
    v.insert("backlog".into(), json!(n_backlog));
    v.insert("unanswered".into(), json!(s.n_waiting()));
    v.insert("total_filters".into(), json!(s.filters));
    v.insert("total_refused".into(), json!(s.refused));

    let hold: f64 = a.num("hold", 0.0);
    if hold == 0.0 {
        return Ok(v.into());
    }
    println!("{}", serde_json::Value::Object(v));
    let (begun, mut pinged) = (now_ns(), now_ns());
    while now_ns() - begun < (hold * 1e9) as u64 && !is_input_over() {
        if now_ns() - pinged > 60_000_000_000 {
            pinged = now_ns();
            for ci in 0..n_clients {
                net.out(ci).extend_from_slice(&codec::PINGREQ);
            }
        }
        net.poll(50_000_000, &mut s);
    }
    let mut held = head("hold", a);
    held.insert("held_s".into(), json!(r3((now_ns() - begun) as f64 / 1e9)));
    held.insert("closed".into(), json!(s.closed));
    held.insert("messages".into(), json!(s.messages));
    Ok(held.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribers(n: usize, per_packet: usize, window: usize) -> Subscribers {
        Subscribers {
            ver: 4,
            clients: vec![Client {
                id: "one".into(),
                next_pid: u16::MAX - 1,
                waiting: HashMap::new(),
                due: VecDeque::new(),
                is_open: true,
            }],
            base: "base".into(),
            groups: 10,
            per_packet,
            window,
            n,
            next: 0,
            is_closed_loop: true,
            is_going: true,
            is_measuring: true,
            ready: 1,
            failed: 0,
            closed: 0,
            packets: 0,
            filters: 0,
            refused: 0,
            messages: 0,
            hist: hist(),
        }
    }

    #[test]
    fn a_client_has_no_more_packets_on_their_way_than_its_window() {
        let mut s = subscribers(7, 2, 3);
        let mut out = vec![];
        s.feed(0, 1000, &mut out);
        assert_eq!((s.n_waiting(), s.next), (3, 6));
        // packet identifiers go round without 0
        let answer = |pid: u16, codes: &[u8]| [&pid.to_be_bytes(), codes].concat();
        s.packet(0, 0x90, &answer(65535, &[0, 0x80]), 3000, &mut out);
        assert_eq!((s.n_waiting(), s.next), (3, 7));
        for pid in 1..=2 {
            s.packet(0, 0x90, &answer(pid, &[0, 0]), 3000, &mut out);
        }
        assert!(!s.is_done());
        s.packet(0, 0x90, &answer(3, &[0]), 3000, &mut out);
        assert!(s.is_done());
        assert_eq!((s.packets, s.filters, s.refused), (4, 6, 1));
        assert_eq!(s.hist.len(), 4);
    }

    #[test]
    fn latency_at_a_rate_counts_from_when_it_was_meant_to_be_sent() {
        let mut s = subscribers(10, 1, 1);
        s.is_closed_loop = false;
        s.clients[0].due = VecDeque::from([1_000_000, 2_000_000]);
        let mut out = vec![];
        s.feed(0, 2_500_000, &mut out);
        assert_eq!((s.n_waiting(), s.clients[0].due.len()), (1, 1));
        s.packet(0, 0x90, &[0xff, 0xff, 0], 5_000_000, &mut out);
        s.packet(0, 0x90, &[0, 1, 0], 5_000_000, &mut out);
        let (low, high) = (s.hist.min(), s.hist.max());
        assert!((2_990_000..3_010_000).contains(&low), "{low}");
        assert!((3_990_000..4_010_000).contains(&high), "{high}");
    }
}
