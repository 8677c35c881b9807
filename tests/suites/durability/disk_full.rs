//! The disk fills up: nothing new is stored before it is full, who asks for it is told, and what
//! makes room still works. Needs the right to mount a small file system.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use gatemq_tests::{Broker, Client, Connect, Publish, eventually, unique, wire};

/// A file system in memory, of this many MiB, as long as it is in scope.
struct Disk(PathBuf);

impl Disk {
    fn mount(mebibytes: usize, path: &Path) -> io::Result<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={mebibytes}m,mode=700"))
            .arg("tmpfs")
            .arg(path)
            .status()?;
        if status.success() {
            return Ok(Self(path.to_owned()));
        }
        Err(io::Error::other(format!("mount: {status}")))
    }

    /// Takes so much of it, as somebody else would.
    fn take(&self, mebibytes: usize) {
        let mut file = File::create(self.0.join("others")).expect("it is writable");
        for _ in 0..mebibytes {
            file.write_all(&[1; 1024 * 1024]).expect("there is room");
        }
    }

    fn give_back(&self) {
        fs::remove_file(self.0.join("others")).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ended = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The reason code of a QoS 1 publish.
fn publish(client: &mut Client, topic: &str, payload: &[u8], retain: bool) -> u8 {
    let id = client.next_id();
    let publish = Publish::new(topic, payload).qos(1, id);
    let publish = if retain { publish.retain() } else { publish };
    client.send(&publish.bytes(5));
    client.expect_ack(wire::PUBACK, id).reason
}

#[test]
fn nothing_new_is_stored_on_a_disk_that_is_nearly_full() {
    for way in ["redb", "fjall"] {
        let broker = Broker::builder().storage(way).start();
        broker.terminate();
        let disk = match Disk::mount(160, &broker.data_dir()) {
            Ok(disk) => disk,
            Err(error) => return crate::foreign::skip("a disk that fills up", &error.to_string()),
        };
        broker.restart();
        let topic = unique("full");
        let away = Connect::persistent(5, unique("away"));
        let mut client = Client::connect(&broker, &away).0;
        client.subscribe(&topic, 1);
        client.disconnect();
        let mut publisher = Client::v5(&broker, &unique("pub"));
        let kept = format!("{topic}/kept");
        assert_eq!(publish(&mut publisher, &topic, b"first", false), 0);
        assert!(publish(&mut publisher, &kept, b"x", true) < 0x80);

        disk.take(110);
        eventually!(publish(&mut publisher, &topic, b"no room", false) == 0x97);
        assert_eq!(publish(&mut publisher, &kept, b"y", true), 0x97);
        let (_, refused) = Client::attempt(&broker, &Connect::persistent(5, unique("new")));
        assert_eq!(refused.code, 0x97, "a session that would have to be stored");
        // What needs no store goes on, and so does what makes room.
        let mut clean = Client::v5(&broker, &unique("clean"));
        let elsewhere = unique("elsewhere");
        clean.subscribe(&elsewhere, 1);
        assert_eq!(publish(&mut publisher, &elsewhere, b"live", false), 0);
        assert_eq!(clean.receive().payload, b"live");
        assert!(publish(&mut publisher, &kept, b"", true) < 0x80, "a clear");
        let mut client = Client::connect(&broker, &away).0;
        assert_eq!(client.receive().payload, b"first");
        while let Some(packet) = client.recv_within(Duration::from_millis(300)) {
            // Before the broker looked at the disk again.
            let late = packet.publish(5);
            client.acknowledge(&late);
        }
        client.disconnect();

        disk.give_back();
        eventually!(publish(&mut publisher, &topic, b"last", false) == 0);
        let mut client = Client::connect(&broker, &away).0;
        assert_eq!(client.receive().payload, b"last");
        assert_eq!(broker.terminate().code(), Some(0), "{}", broker.log());
    }
}
