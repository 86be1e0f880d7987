//! A convolution whose output is only looked at through a pool: the greatest element of each square of 2 x 2 positions.
//!
//! The output of an image is pooled while it is in the cache, and forgotten. Where the greatest elements were is kept for the
//! gradient, in a byte for each: then the slope of the output of an image is known again, and is 0 elsewhere.

use super::arguments::{Arguments, Slopes};
use super::images::Direct;
use super::lanes::{Lanes, Work};
use super::passes::more;
use crate::Result;
use crate::nn::activation::Fused;
use crate::nn::pool_rows::{greater, is_greatest};

/// The greatest elements of the squares of a batch.
#[derive(Debug)]
pub(in crate::nn) struct Squares {
    /// `[rows, outputs, positions down / 2, positions across / 2]`
    pub(in crate::nn) y: Vec<f32>,
    /// The place of each in its square, from 0 to 3; empty if they are not wanted.
    pub(in crate::nn) places: Vec<u8>,
}

impl Direct {
    /// The numbers of the output of an image.
    fn pooled(&self) -> usize {
        let [down, across] = self.group().positions;
        self.group().outputs * (down / 2) * (across / 2)
    }

    /// The greatest elements of the squares of the output, of each the first one or the first NaN.
    pub(in crate::nn) fn forward_squares(
        &self,
        arguments: Arguments<'_>,
        wants_places: bool,
    ) -> Result<Squares> {
        let mut pass = self.forward_pass(arguments);
        let images = arguments.x.chunks_exact(self.group().inputs());
        let mut full = vec![0.0; self.group().results()];
        let mut y = Vec::with_capacity(images.len() * self.pooled());
        let mut places = Vec::with_capacity(if wants_places { y.capacity() } else { 0 });
        for (number, image) in images.enumerate() {
            pass.write(number, image, &mut full)?;
            let wanted = if wants_places { self.pooled() } else { 0 };
            self.run(Pool {
                positions: self.group().positions,
                full: &full,
                y: more(&mut y, self.pooled()),
                places: more(&mut places, wanted),
            });
        }
        Ok(Squares { y, places })
    }

    /// The slopes of `x` if they are wanted, of the weights and of the bias, from the slopes `dy` of the greatest elements.
    pub(in crate::nn) fn slopes_of_squares(
        &self,
        arguments: Arguments<'_>,
        squares: (&[f32], &[u8]),
        dy: &[f32],
        has_input_gradient: bool,
    ) -> Result<Slopes> {
        let mut pass = self.backward_pass(arguments, has_input_gradient);
        let mut dz = vec![0.0; self.group().results()];
        let (y, places) = squares;
        let pooled = y
            .chunks_exact(self.pooled())
            .zip(places.chunks_exact(self.pooled()));
        let pooled = pooled.zip(dy.chunks_exact(self.pooled()));
        let images = arguments.x.chunks_exact(self.group().inputs());
        for (number, (image, ((y, places), dy))) in images.zip(pooled).enumerate() {
            self.run(Spread {
                positions: self.group().positions,
                activation: self.activation(),
                y,
                places,
                dy,
                dz: &mut dz,
            });
            pass.add(number, image, &dz)?;
        }
        Ok(pass.end())
    }
}

/// Pools an output `[outputs, positions]`.
struct Pool<'a> {
    positions: [usize; 2],
    full: &'a [f32],
    y: &'a mut [f32],
    /// Empty if they are not wanted.
    places: &'a mut [u8],
}

impl Work for Pool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let [down, across] = self.positions;
        let lines = self.full.chunks_exact(down * across).flat_map(|channel| {
            let (lines, _) = channel.split_at(down / 2 * 2 * across);
            lines.chunks_exact(2 * across)
        });
        let mut results = self.y.chunks_exact_mut(across / 2);
        let mut places = self.places.chunks_exact_mut(across / 2);
        for (line, y) in lines.zip(&mut results) {
            let (upper, lower) = line.split_at(across);
            let ((upper, _), (lower, _)) = (upper.as_chunks::<2>(), lower.as_chunks::<2>());
            let squares = upper.iter().zip(lower);
            let pairs = y.iter_mut().zip(squares.clone());
            pairs.for_each(|(y, (&[a, b], &[c, d]))| *y = greater(greater(a, b), greater(c, d)));
            if let Some(places) = places.next() {
                let all = places.iter_mut().zip(y).zip(squares);
                all.for_each(|((place, y), (&[a, b], &[c, _]))| *place = first([a, b, c], *y));
            }
        }
    }
}

/// The place in a square of the first element that is the greatest, or of the first NaN, from the first three elements.
#[inline(always)]
fn first(elements: [f32; 3], greatest: f32) -> u8 {
    let [a, b, c] = elements.map(|x| is_greatest(x, greatest));
    let (behind_a, behind_b) = (!a, !a & !b);
    u8::from(behind_a) + u8::from(behind_b) + u8::from(behind_b & !c)
}

/// Writes the slopes of an output `[outputs, positions]` before its activation, from those of its pool.
struct Spread<'a> {
    positions: [usize; 2],
    activation: Option<Fused>,
    y: &'a [f32],
    places: &'a [u8],
    dy: &'a [f32],
    dz: &'a mut [f32],
}

impl Work for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        match self.activation {
            None => self.write(|_, dy| dy),
            Some(Fused::Relu) => self.write(|y, dy| Fused::Relu.slope(y, dy)),
            Some(Fused::Tanh) => self.write(|y, dy| Fused::Tanh.slope(y, dy)),
            Some(Fused::Sigmoid) => self.write(|y, dy| Fused::Sigmoid.slope(y, dy)),
        }
    }
}

impl Spread<'_> {
    #[inline(always)]
    fn write(self, slope: impl Fn(f32, f32) -> f32) {
        let [down, across] = self.positions;
        let lines = self.dz.chunks_exact_mut(down * across).flat_map(|channel| {
            let (lines, _) = channel.split_at_mut(down / 2 * 2 * across);
            lines.chunks_exact_mut(2 * across)
        });
        let half = across / 2;
        let pooled = self.y.chunks_exact(half).zip(self.dy.chunks_exact(half));
        let pooled = pooled.zip(self.places.chunks_exact(half));
        for (line, ((y, dy), places)) in lines.zip(pooled) {
            let (upper, lower) = line.split_at_mut(across);
            let ((upper, _), (lower, _)) = (upper.as_chunks_mut::<2>(), lower.as_chunks_mut::<2>());
            let squares = upper.iter_mut().zip(lower);
            let of_positions = y.iter().zip(dy).zip(places);
            for ((upper, lower), ((&y, &dy), &place)) in squares.zip(of_positions) {
                let dz = slope(y, dy);
                let at = |number: u8| if place == number { dz } else { 0.0 };
                (*upper, *lower) = ([at(0), at(1)], [at(2), at(3)]);
            }
        }
    }
}
