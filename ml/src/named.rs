//! `named_enum!`: an enum whose variants have one name each, in SQL and in files.

macro_rules! named_enum {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$inner])* $variant),+ }

        impl $name {
            /// Every variant with its name in SQL.
            pub const ALL: &[(&str, $name)] = &[$(($text, $name::$variant)),+];

            /// The name in SQL.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }
    };
}

pub(crate) use named_enum;
