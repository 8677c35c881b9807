//! Records by Kafka's protocol itself: librdkafka lets nobody of ours write headers that are no text.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Writes a record of these headers, without a key, to the first partition of a topic.
pub(super) async fn produce(broker: &str, topic: &str, headers: &[(&[u8], &[u8])]) {
    let address = broker.split(',').next().expect("a broker");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = request(topic, &batch(&record(headers)));
    let length = i32::try_from(request.len()).expect("a small one");
    stream.write_all(&length.to_be_bytes()).await.expect("room");
    stream.write_all(&request).await.expect("room");
    let length = stream.read_u32().await.expect("an answer");
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.expect("all of it");
    // Behind the correlation, one topic by name, one partition and its number.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[at..at + 2], [0, 0], "{answer:?}");
}

/// Produce, version 3.
fn request(topic: &str, batch: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(0_i16.to_be_bytes());
    out.extend(3_i16.to_be_bytes());
    out.extend(1_i32.to_be_bytes()); // correlation
    out.extend((-1_i16).to_be_bytes()); // no client id
    out.extend((-1_i16).to_be_bytes()); // no transaction
    out.extend((-1_i16).to_be_bytes()); // acks
    out.extend(5_000_i32.to_be_bytes());
    out.extend(1_i32.to_be_bytes());
    out.extend(u16::try_from(topic.len()).expect("a name").to_be_bytes());
    out.extend(topic.as_bytes());
    out.extend(1_i32.to_be_bytes());
    out.extend(0_i32.to_be_bytes()); // partition
    out.extend(u32::try_from(batch.len()).expect("small").to_be_bytes());
    out.extend(batch);
    out
}

/// A batch of one record, whose checksum nobody looks at.
fn batch(record: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    rest.extend((-1_i32).to_be_bytes()); // epoch of the leader
    rest.push(2);
    rest.extend(0_u32.to_be_bytes()); // checksum
    rest.extend(0_i16.to_be_bytes());
    rest.extend(0_i32.to_be_bytes()); // last offset
    rest.extend(1_000_i64.to_be_bytes());
    rest.extend(1_000_i64.to_be_bytes());
    rest.extend((-1_i64).to_be_bytes()); // no producer
    rest.extend((-1_i16).to_be_bytes());
    rest.extend((-1_i32).to_be_bytes());
    rest.extend(1_i32.to_be_bytes());
    rest.extend(record);
    let mut out = 0_i64.to_be_bytes().to_vec();
    out.extend(u32::try_from(rest.len()).expect("small").to_be_bytes());
    out.extend(rest);
    out
}

fn record(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut rest = vec![0];
    put(&mut rest, 0); // time
    put(&mut rest, 0); // offset
    put(&mut rest, -1); // no key
    put_chunk(&mut rest, b"21.5");
    put(&mut rest, i64::try_from(headers.len()).expect("some"));
    for (name, value) in headers {
        put_chunk(&mut rest, name);
        put_chunk(&mut rest, value);
    }
    let mut out = Vec::new();
    put_chunk(&mut out, &rest);
    out
}

fn put_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    put(out, i64::try_from(chunk.len()).expect("small"));
    out.extend(chunk);
}

/// A number as records have it: seven bits in a byte, the sign in the last bit.
fn put(out: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}
