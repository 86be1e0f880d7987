//! [`AUGMENTATIONS`]: every augmentation of `augment = […]`; [`Augmentations`]: those of a training.

use std::ops::RangeInclusive;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::colour::Colour;
use super::geometry::Map;
use super::planes::Planes;
use crate::{Error, Result};

/// The most augmentations of a training.
const AUGMENTATIONS_MAX: usize = 16;
/// The most characters of a user's text in an error.
const SHORT_MAX: usize = 60;

/// A kind of augmentation.
#[derive(Debug)]
pub struct AugmentationKind {
    /// How it is written: its name, and its argument.
    pub written: &'static str,
    read: Read,
}

/// Reads the argument, `None` if there is none.
type Read = fn(Option<&str>) -> Result<Augmentation>;

impl AugmentationKind {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.written.split('(').next().unwrap_or_default()
    }
}

const fn kind(written: &'static str, read: Read) -> AugmentationKind {
    AugmentationKind { written, read }
}

/// Every augmentation.
pub const AUGMENTATIONS: &[AugmentationKind] = &[
    kind("flip", |argument| match argument {
        None => Ok(Augmentation::Flip),
        Some(_) => Err(invalid("it has no argument")),
    }),
    kind("shift(share)", |argument| {
        Ok(Augmentation::Shift(number("share", argument, 0.0..=1.0)?))
    }),
    kind("crop(share)", |argument| {
        let share = number("share", argument, 0.0..=1.0)?;
        match share > 0.0 {
            true => Ok(Augmentation::Crop(share)),
            false => Err(invalid("share is 0; expected a number above 0 and up to 1")),
        }
    }),
    kind("rotate(degrees)", |argument| {
        Ok(Augmentation::Rotate(number(
            "degrees",
            argument,
            0.0..=180.0,
        )?))
    }),
    kind("colour(strength)", |argument| {
        Ok(Augmentation::Colour(number(
            "strength",
            argument,
            0.0..=1.0,
        )?))
    }),
];

/// Another spelling of a name.
const SPELLINGS: [(&str, &str); 1] = [("color", "colour")];

fn invalid(problem: impl Into<String>) -> Error {
    Error::Invalid(problem.into())
}

fn number(name: &str, argument: Option<&str>, range: RangeInclusive<f64>) -> Result<f64> {
    let (min, max) = (range.start(), range.end());
    let Some(text) = argument else {
        return Err(invalid(format!(
            "{name} is missing: a number from {min} to {max}"
        )));
    };
    let number = text.parse::<f64>().ok();
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let text = short(text);
            invalid(format!(
                "{name} is {text}; expected a number from {min} to {max}"
            ))
        })
}

fn short(text: &str) -> String {
    text.chars().take(SHORT_MAX).collect()
}

/// A random change of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Augmentation {
    /// Left and right are exchanged in half of the images.
    Flip,
    /// Up to this share of the width and of the height, in any direction.
    Shift(f64),
    /// A window with at least this share of both sides fills the image.
    Crop(f64),
    /// Up to so many degrees in both directions.
    Rotate(f64),
    /// Brightness, contrast and saturation by up to this share each.
    Colour(f64),
}

/// The augmentations of a training, in the order in which they apply.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Augmentations(Vec<Augmentation>);

/// What is drawn for an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    map: Map,
    colours: Vec<Colour>,
}

impl Augmentations {
    /// The augmentations that these texts name.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the text, and how it is written.
    pub fn read(texts: &[String]) -> Result<Self> {
        if texts.len() > AUGMENTATIONS_MAX {
            return Err(invalid(format!(
                "augment has {} augmentations; expected at most {AUGMENTATIONS_MAX}",
                texts.len()
            )));
        }
        let read = texts.iter().map(|text| {
            let found = augmentation(text);
            found.map_err(|error| invalid(format!("augment '{}': {error}", short(text))))
        });
        Ok(Self(read.collect::<Result<_>>()?))
    }

    /// Whether there is an augmentation of this name, in lower case.
    pub fn has(name: &str) -> bool {
        let spelled = spelled(name);
        AUGMENTATIONS.iter().any(|kind| kind.name() == spelled)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Draws a change for an image of this size. The number of draws depends on the augmentations only.
    pub fn draw(&self, [height, width]: [usize; 2], random: &mut ChaCha8Rng) -> Change {
        // From -1 to below 1.
        let mut side = || 2.0 * random.random::<f64>() - 1.0;
        let (height, width) = (height as f64, width as f64);
        let mut change = Change {
            map: Map::IDENTITY,
            colours: vec![],
        };
        for augmentation in &self.0 {
            let next = match *augmentation {
                Augmentation::Flip => match side() < 0.0 {
                    true => Map::flip(),
                    false => Map::IDENTITY,
                },
                Augmentation::Shift(most) => {
                    let (right, down) = (side() * most * width, side() * most * height);
                    Map::shift(right, down)
                }
                Augmentation::Crop(least) => {
                    let share = 1.0 - (1.0 - least) * (side() + 1.0) / 2.0;
                    let room = (1.0 - share) / 2.0;
                    let (right, down) = (side() * room * width, side() * room * height);
                    Map::crop(share, right, down)
                }
                Augmentation::Rotate(most) => Map::rotate((side() * most).to_radians()),
                Augmentation::Colour(most) => {
                    change.colours.push(Colour {
                        brightness: 1.0 + side() * most,
                        contrast: 1.0 + side() * most,
                        saturation: 1.0 + side() * most,
                    });
                    Map::IDENTITY
                }
            };
            change.map = change.map.then(next);
        }
        change
    }
}

impl Change {
    /// Changes an image: first its geometry, then its colours.
    pub fn apply(&self, planes: &mut Planes) {
        if self.map != Map::IDENTITY {
            self.map.sample(planes);
        }
        self.colours.iter().for_each(|colour| colour.apply(planes));
    }
}

/// The name as we spell it.
fn spelled(name: &str) -> &str {
    let spelling = SPELLINGS.iter().find(|(other, _)| *other == name);
    spelling.map_or(name, |(_, ours)| *ours)
}

fn augmentation(text: &str) -> Result<Augmentation> {
    let text = text.trim();
    let (name, argument) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => {
            let argument = rest.strip_suffix(')');
            let argument = argument.ok_or_else(|| invalid("a \")\" is missing at its end"))?;
            (name, Some(argument.trim()))
        }
    };
    let name = name.trim().to_lowercase();
    let name = spelled(&name);
    let Some(kind) = AUGMENTATIONS.iter().find(|kind| kind.name() == name) else {
        let known: Vec<&str> = AUGMENTATIONS.iter().map(|kind| kind.written).collect();
        return Err(invalid(format!(
            "there is no such augmentation; use {}",
            known.join(", ")
        )));
    };
    let read = (kind.read)(argument);
    read.map_err(|error| invalid(format!("{error}; write {}", kind.written)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stream;

    fn read(texts: &[&str]) -> Result<Augmentations> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Augmentations::read(&texts)
    }

    #[test]
    fn augmentations_are_read_in_their_order() {
        let found = read(&[
            " Flip",
            "shift(0.1)",
            "crop( 0.8 )",
            "rotate(15)",
            "color(0.2)",
        ]);
        assert_eq!(
            found.unwrap().0,
            [
                Augmentation::Flip,
                Augmentation::Shift(0.1),
                Augmentation::Crop(0.8),
                Augmentation::Rotate(15.0),
                Augmentation::Colour(0.2),
            ]
        );
        assert!(read(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_mistake_says_how_the_augmentation_is_written() {
        for (text, expected) in [
            (
                "flip(0.5)",
                "augment 'flip(0.5)': it has no argument; write flip",
            ),
            (
                "shift",
                "share is missing: a number from 0 to 1; write shift(share)",
            ),
            ("shift(2)", "share is 2; expected a number from 0 to 1"),
            (
                "crop(0)",
                "share is 0; expected a number above 0 and up to 1",
            ),
            ("crop(x)", "share is x; expected"),
            (
                "rotate(360)",
                "degrees is 360; expected a number from 0 to 180",
            ),
            ("colour(NaN)", "strength is NaN"),
            ("crop(0.5", "a \")\" is missing"),
            (
                "zoom(2)",
                "there is no such augmentation; use flip, shift(share), crop(share), rotate(degrees), colour(strength)",
            ),
        ] {
            let error = read(&[text]).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(read(&["flip"; 17]).is_err());
    }

    #[test]
    fn what_is_drawn_is_within_its_range_and_reaches_it() {
        let all = read(&["flip", "colour(0.25)"]).unwrap();
        let mut random = stream(3, "test", &[]);
        let changes: Vec<Change> = (0..1_000).map(|_| all.draw([4, 6], &mut random)).collect();
        let flipped = changes.iter().filter(|change| change.map == Map::flip());
        let flipped = flipped.count();
        assert!((400..600).contains(&flipped), "{flipped}");
        let contrasts = changes.iter().map(|change| change.colours[0].contrast);
        let (least, most) = contrasts.fold((2.0f64, 0.0f64), |(least, most), contrast| {
            (least.min(contrast), most.max(contrast))
        });
        assert!((0.75..0.76).contains(&least) && (1.24..1.25).contains(&most));
        // A window stays within the image: both corners of all windows.
        let crops = read(&["crop(0.5)"]).unwrap();
        for _ in 0..1_000 {
            let map = crops.draw([4, 6], &mut random).map;
            let ([left, top], [right, bottom]) = (map.of([-3.0, -2.0]), map.of([3.0, 2.0]));
            assert!(left >= -3.000_001 && top >= -2.000_001);
            assert!(right <= 3.000_001 && bottom <= 2.000_001);
            assert!(right - left >= 2.999_999, "{left} to {right}");
        }
    }
}
