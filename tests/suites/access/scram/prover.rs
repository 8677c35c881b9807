//! The client's side of SCRAM (RFC 5802), for tests.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};

/// A client that knows a user name and a password, right or wrong.
pub(super) struct Prover {
    pub(super) method: &'static str,
    password: String,
    bare: String,
}

/// What follows from the server's question.
pub(super) struct Answer {
    pub(super) last: String,
    /// What a server says that knows the user.
    pub(super) signature: String,
    pub(super) salt: String,
}

impl Prover {
    pub(super) fn new(method: &'static str, username: &str, password: &str) -> Self {
        Self {
            method,
            password: password.to_owned(),
            bare: format!("n={username},r=fyko+d2lbbFgONRv9qkxdawL"),
        }
    }

    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    pub(super) fn answer(&self, question: &[u8]) -> Answer {
        let question = std::str::from_utf8(question).expect("it is text");
        let fields: Vec<&str> = question.split(',').collect();
        let [nonce, salt, rounds] = fields[..] else {
            panic!("a question: {question}");
        };
        let nonce = nonce.strip_prefix("r=").expect("a nonce");
        assert!(
            nonce.starts_with("fyko+d2lbbFgONRv9qkxdawL") && nonce.len() > 40,
            "{nonce}"
        );
        let salt = salt.strip_prefix("s=").expect("a salt");
        let rounds = rounds.strip_prefix("i=").and_then(|it| it.parse().ok());
        let without_proof = format!("c=biws,r={nonce}");
        let said = format!("{},{question},{without_proof}", self.bare);
        let bytes = STANDARD.decode(salt).expect("it is Base64");
        let salted = self.salted(&bytes, rounds.expect("a number"));
        let client_key = self.hmac(&salted, b"Client Key");
        let signed = self.hmac(&self.hash(&client_key), said.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signed).map(|(a, b)| a ^ b).collect();
        let server_key = self.hmac(&salted, b"Server Key");
        let signature = STANDARD.encode(self.hmac(&server_key, said.as_bytes()));
        Answer {
            last: format!("{without_proof},p={}", STANDARD.encode(proof)),
            signature: format!("v={signature}"),
            salt: salt.to_owned(),
        }
    }

    /// PBKDF2, of one block.
    fn salted(&self, salt: &[u8], rounds: u32) -> Vec<u8> {
        let password = self.password.as_bytes();
        let mut last = self.hmac(password, &[salt, &[0, 0, 0, 1]].concat());
        let mut sum = last.clone();
        for _ in 1..rounds {
            last = self.hmac(password, &last);
            sum.iter_mut()
                .zip(&last)
                .for_each(|(sum, last)| *sum ^= last);
        }
        sum
    }

    fn is_long(&self) -> bool {
        self.method == "SCRAM-SHA-512"
    }

    fn hmac(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        fn of<M: Mac + hmac::digest::KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
            let mac = <M as hmac::digest::KeyInit>::new_from_slice(key).expect("any key");
            mac.chain_update(message).finalize().into_bytes().to_vec()
        }
        match self.is_long() {
            true => of::<Hmac<Sha512>>(key, message),
            false => of::<Hmac<Sha256>>(key, message),
        }
    }

    fn hash(&self, bytes: &[u8]) -> Vec<u8> {
        match self.is_long() {
            true => Sha512::digest(bytes).to_vec(),
            false => Sha256::digest(bytes).to_vec(),
        }
    }
}
