//! The texts that passwords are stored as.
//!
//! | text | what it is |
//! |---|---|
//! | hex digits | md5, sha1, sha256, sha512, and their HMACs |
//! | `$2b$COST$SALT+HASH`, `$2a$`, `$2y$` | bcrypt |
//! | `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH` | argon2id |
//! | `$pbkdf2-sha512$i=ROUNDS,l=SIZE$SALT$HASH`, `$pbkdf2-sha256$` | PBKDF2, as PHC has it |
//! | `$pbkdf2-sha512$ROUNDS$SALT$HASH` | the same, as passlib writes it |
//! | `$7$ROUNDS$SALT$HASH` | PBKDF2-SHA512, of mosquitto |
//! | `SCRAM-SHA-256$ROUNDS:SALT$KEY:KEY`, `SCRAM-SHA-512$` | of PostgreSQL ([`super::scram`]) |
//! | `$6$SALT$HASH` | SHA-512 of password and salt, of older mosquittos |

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};

use super::digest::Digest;
use super::scheme::SaltPosition;
use super::scram::Secret;
use super::stored::{Argon2Cost, BCRYPT_OUTPUT, Function, Malformed, Stored};

/// What a stored text may ask for. None of these is near what anybody uses.
const MAX_BCRYPT_COST: u32 = 16;
const MAX_ARGON2: Argon2Cost = Argon2Cost {
    memory: 256 * 1024,
    passes: 16,
    lanes: 16,
};
const MAX_ROUNDS: u32 = 5_000_000;

const MIN_BCRYPT_COST: u32 = 4;
const BCRYPT_SALT_DIGITS: usize = 22;

type Sizes = std::ops::RangeInclusive<usize>;
/// A hash of fewer bytes could be met by chance; one of more would only cost more.
const HASHES: Sizes = 16..=64;
const MOSQUITTO_HASHES: Sizes = 64..=64;
const SALTS: Sizes = 1..=128;
const ARGON2_SALTS: Sizes = 8..=128;

/// Some libraries leave bits in the last digit of the salt; bcrypt's own reader takes no notice.
const BCRYPT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);
const PHC: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// By what the text begins with.
pub(super) fn auto(text: &str) -> Result<Stored, Malformed> {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    if begins(&["$2a$", "$2b$", "$2y$"]) {
        bcrypt(text)
    } else if begins(&["$argon2id$"]) {
        argon2id(text)
    } else if begins(&["$pbkdf2-sha256$", "$pbkdf2-sha512$"]) {
        pbkdf2(text)
    } else if begins(&["$6$", "$7$"]) {
        mosquitto(text)
    } else if Secret::is_one(text) {
        scram(text)
    } else {
        Err(Malformed::Unknown)
    }
}

/// Of so many bytes; digits in any case.
pub(super) fn hex(text: &str, size: usize) -> Result<Vec<u8>, Malformed> {
    let digit = |digit: u8| {
        (digit as char)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes
        .filter(|bytes| bytes.len() == size && rest.is_empty())
        .ok_or(Malformed::Form("hex of the length that its hash has"))
}

pub(super) fn bcrypt(text: &str) -> Result<Stored, Malformed> {
    const FORM: Malformed = Malformed::Form("bcrypt");
    let ["", "2a" | "2b" | "2y", cost, salt_and_hash] = fields(text).ok_or(FORM)? else {
        return Err(FORM);
    };
    let (salt, hash) = salt_and_hash
        .split_at_checked(BCRYPT_SALT_DIGITS)
        .ok_or(FORM)?;
    let salt = BCRYPT
        .decode(salt)
        .map_err(|_| FORM)?
        .try_into()
        .map_err(|_| FORM)?;
    let expected = BCRYPT.decode(hash).map_err(|_| FORM)?;
    let cost = number(cost).filter(|_| cost.len() == 2).ok_or(FORM)?;
    if cost < MIN_BCRYPT_COST || expected.len() != BCRYPT_OUTPUT {
        return Err(FORM);
    }
    if cost > MAX_BCRYPT_COST {
        return Err(Malformed::TooCostly("bcrypt"));
    }
    Ok(Stored {
        function: Function::Bcrypt { cost, salt },
        expected,
    })
}

pub(super) fn argon2id(text: &str) -> Result<Stored, Malformed> {
    const FORM: Malformed = Malformed::Form("argon2id");
    let ["", "argon2id", "v=19", params, salt, hash] = fields(text).ok_or(FORM)? else {
        return Err(FORM);
    };
    let cost = argon2_cost(params).ok_or(FORM)?;
    let salt = decode(&PHC, salt, ARGON2_SALTS).ok_or(FORM)?;
    let expected = decode(&PHC, hash, HASHES).ok_or(FORM)?;
    let Argon2Cost {
        memory,
        passes,
        lanes,
    } = MAX_ARGON2;
    if cost.memory > memory || cost.passes > passes || cost.lanes > lanes {
        return Err(Malformed::TooCostly("argon2id"));
    }
    let size = expected.len();
    cost.params(size).map_err(|_| FORM)?;
    Ok(Stored {
        function: Function::Argon2id { cost, salt, size },
        expected,
    })
}

/// The text to store for a password.
pub(super) fn argon2id_text(cost: Argon2Cost, salt: &[u8], hash: &[u8]) -> String {
    let Argon2Cost {
        memory,
        passes,
        lanes,
    } = cost;
    let (salt, hash) = (PHC.encode(salt), PHC.encode(hash));
    format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
}

pub(super) fn pbkdf2(text: &str) -> Result<Stored, Malformed> {
    const FORM: Malformed = Malformed::Form("pbkdf2");
    let ["", name, params, salt, hash] = fields(text).ok_or(FORM)? else {
        return Err(FORM);
    };
    let digest = match name {
        "pbkdf2-sha256" => Digest::Sha256,
        "pbkdf2-sha512" => Digest::Sha512,
        _ => return Err(FORM),
    };
    // passlib writes a dot for the plus.
    let decode = |text: &str, sizes| decode(&PHC, &text.replace('.', "+"), sizes).ok_or(FORM);
    let salt = decode(salt, SALTS)?;
    let expected = decode(hash, HASHES)?;
    let rounds = match params.strip_prefix("i=") {
        None => params,
        Some(params) => match params.split_once(",l=") {
            None => params,
            Some((rounds, size)) if number(size) == u32::try_from(expected.len()).ok() => rounds,
            Some(_) => return Err(FORM),
        },
    };
    stretched(
        digest,
        number(rounds).ok_or(FORM)?,
        salt,
        expected,
        "pbkdf2",
    )
}

fn scram(text: &str) -> Result<Stored, Malformed> {
    let (mechanism, rounds, salt, expected) = Secret::read(text)?.parts();
    Ok(Stored {
        function: Function::Scram {
            mechanism,
            rounds,
            salt,
        },
        expected,
    })
}

/// What `mosquitto_passwd` writes behind the colon. Its padding is asked for: `$6$` without it is
/// another hash, that of crypt(3).
fn mosquitto(text: &str) -> Result<Stored, Malformed> {
    const FORM: Malformed = Malformed::Form("mosquitto");
    let decode = |text, sizes| decode(&STANDARD, text, sizes).ok_or(FORM);
    if let Some(["", "7", rounds, salt, hash]) = fields(text) {
        let (salt, expected) = (decode(salt, SALTS)?, decode(hash, MOSQUITTO_HASHES)?);
        return stretched(
            Digest::Sha512,
            number(rounds).ok_or(FORM)?,
            salt,
            expected,
            "mosquitto",
        );
    }
    let Some(["", "6", salt, hash]) = fields(text) else {
        return Err(FORM);
    };
    let salt = decode(salt, SALTS)?;
    let function = Function::hashed(Digest::Sha512, SaltPosition::Suffix, &salt);
    Ok(Stored {
        function,
        expected: decode(hash, MOSQUITTO_HASHES)?,
    })
}

fn stretched(
    digest: Digest,
    rounds: u32,
    salt: Vec<u8>,
    expected: Vec<u8>,
    name: &'static str,
) -> Result<Stored, Malformed> {
    if rounds == 0 {
        return Err(Malformed::Form(name));
    }
    if rounds > MAX_ROUNDS {
        return Err(Malformed::TooCostly(name));
    }
    let size = expected.len();
    Ok(Stored {
        function: Function::Pbkdf2 {
            digest,
            rounds,
            salt,
            size,
        },
        expected,
    })
}

/// What the dollars part, if there are so many.
fn fields<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut fields = text.split('$');
    let mut found = [""; N];
    for field in &mut found {
        *field = fields.next()?;
    }
    fields.next().is_none().then_some(found)
}

/// `m=…,t=…,p=…`
fn argon2_cost(text: &str) -> Option<Argon2Cost> {
    let (memory, rest) = text.strip_prefix("m=")?.split_once(",t=")?;
    let (passes, lanes) = rest.split_once(",p=")?;
    let (memory, passes, lanes) = (number(memory)?, number(passes)?, number(lanes)?);
    Some(Argon2Cost {
        memory,
        passes,
        lanes,
    })
}

/// Decimal digits and nothing else.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// If it decodes to so many bytes.
fn decode(engine: &GeneralPurpose, text: &str, sizes: Sizes) -> Option<Vec<u8>> {
    engine
        .decode(text)
        .ok()
        .filter(|bytes| sizes.contains(&bytes.len()))
}
