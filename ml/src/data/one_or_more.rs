//! Lists of which the only element is stored as itself, so that what has one target has the form that it had before there
//! could be several. For `#[serde(with = …)]`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<T: Serialize, S: Serializer>(
    all: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match all {
        [only] => only.serialize(serializer),
        all => serializer.collect_seq(all),
    }
}

pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(OneOrMore(PhantomData))
}

struct OneOrMore<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        let only = T::deserialize(MapAccessDeserializer::new(map))?;
        Ok(vec![only])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Number { mean: f64 },
        Name { text: String },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Stored {
        #[serde(with = "super")]
        kinds: Vec<Kind>,
    }

    #[test]
    fn one_is_stored_as_itself_and_several_as_a_list() {
        let one = Kind::Number { mean: 0.1 };
        let two = Kind::Name { text: "x".into() };
        for (kinds, expected) in [
            (vec![], r#"{"kinds":[]}"#),
            (
                vec![Kind::Number { mean: 0.1 }],
                r#"{"kinds":{"number":{"mean":0.1}}}"#,
            ),
            (
                vec![one, two],
                r#"{"kinds":[{"number":{"mean":0.1}},{"name":{"text":"x"}}]}"#,
            ),
        ] {
            let stored = Stored { kinds };
            let text = serde_json::to_string(&stored).unwrap();
            assert_eq!(text, expected);
            assert_eq!(serde_json::from_str::<Stored>(&text).unwrap(), stored);
        }
        let two_keys = r#"{"kinds":{"number":{"mean":0.1},"name":{"text":"x"}}}"#;
        assert!(serde_json::from_str::<Stored>(two_keys).is_err());
        assert!(serde_json::from_str::<Stored>(r#"{"kinds":3}"#).is_err());
    }
}
