//! Values with bounds: numbers, periods of time, sizes. Each is checked as it is read, and its
//! error says what would have been right.

use super::shape::show;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_yaml::Value;
use std::marker::PhantomData;
use std::time::Duration;

/// A whole number from `MIN` to `MAX`.
pub type Number<const MIN: u64, const MAX: u64> = Quantity<Plain, MIN, MAX>;

/// A period from `MIN` to `MAX` milliseconds: `5s`, `500ms`, `2m`, `1h`, or a number of seconds.
pub type Period<const MIN: u64, const MAX: u64> = Quantity<Time, MIN, MAX>;

/// A size from `MIN` to `MAX` bytes: `64KiB`, `1MiB`, `2GiB`, or a number of bytes.
pub type Size<const MIN: u64, const MAX: u64> = Quantity<Bytes, MIN, MAX>;

/// A quantity of some kind within its bounds, in the smallest unit of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity<K, const MIN: u64, const MAX: u64>(u64, PhantomData<K>);

/// What is counted, and how it is written.
pub trait Kind {
    /// Unit names with their size in the smallest unit, ascending; none for a plain number.
    const UNITS: &'static [(&'static str, u64)];
    /// What a number without a unit is multiplied by.
    const WITHOUT_UNIT: u64;
    /// The kind's name in an error.
    const NAME: &'static str;
    /// How to write one, for an error.
    const HINT: &'static str;
}

/// Plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain;

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time;

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes;

impl Kind for Plain {
    const UNITS: &'static [(&'static str, u64)] = &[];
    const WITHOUT_UNIT: u64 = 1;
    const NAME: &'static str = "number";
    const HINT: &'static str = "";
}

impl Kind for Time {
    const UNITS: &'static [(&'static str, u64)] = &[
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    const WITHOUT_UNIT: u64 = 1000;
    const NAME: &'static str = "period";
    const HINT: &'static str = ": write 500ms, 5s, 2m, 1h, or seconds";
}

impl Kind for Bytes {
    const UNITS: &'static [(&'static str, u64)] = &[
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    const WITHOUT_UNIT: u64 = 1;
    const NAME: &'static str = "size";
    const HINT: &'static str = ": write 64KiB, 1MiB, 2GiB, or bytes";
}

impl<K: Kind, const MIN: u64, const MAX: u64> Quantity<K, MIN, MAX> {
    /// A quantity, in the smallest unit, that is known to be within its bounds.
    pub const fn new(number: u64) -> Self {
        assert!(
            MIN <= number && number <= MAX,
            "a default is within its bounds"
        );
        Self(number, PhantomData)
    }

    /// The number in the smallest unit, as a type that its bounds fit in (`None` if they do not).
    pub fn get<T: TryFrom<u64>>(self) -> Option<T> {
        T::try_from(self.0).ok()
    }

    fn parse(value: &Value) -> Option<u64> {
        let number = match value.as_str() {
            None => value.as_u64()?.checked_mul(K::WITHOUT_UNIT)?,
            Some(text) => {
                let digits = text
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(text.len());
                let factor = match text[digits..].trim() {
                    "" => K::WITHOUT_UNIT,
                    unit => K::UNITS.iter().find(|(name, _)| *name == unit)?.1,
                };
                text[..digits].parse::<u64>().ok()?.checked_mul(factor)?
            }
        };
        (MIN..=MAX).contains(&number).then_some(number)
    }

    /// The number in the largest unit that divides it; zero in the unit that is left out.
    fn write(number: u64) -> String {
        let fits = |unit: &&(&str, u64)| match number {
            0 => unit.1 == K::WITHOUT_UNIT,
            _ => number.is_multiple_of(unit.1),
        };
        let unit = K::UNITS.iter().rev().find(fits);
        unit.map_or(number.to_string(), |(name, factor)| {
            format!("{}{name}", number / factor)
        })
    }
}

impl<const MIN: u64, const MAX: u64> Period<MIN, MAX> {
    /// The period.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<'de, K: Kind, const MIN: u64, const MAX: u64> Deserialize<'de> for Quantity<K, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(&value)
            .map(|number| Self(number, PhantomData))
            .ok_or_else(|| {
                let (min, max) = (Self::write(MIN), Self::write(MAX));
                let (value, name, hint) = (show(&value), K::NAME, K::HINT);
                D::Error::custom(format!("{value} is not a {name} from {min} to {max}{hint}"))
            })
    }
}

impl<K: Kind, const MIN: u64, const MAX: u64> Serialize for Quantity<K, MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if K::UNITS.is_empty() {
            serializer.serialize_u64(self.0)
        } else {
            serializer.serialize_str(&Self::write(self.0))
        }
    }
}
