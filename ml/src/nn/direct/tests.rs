//! The kernels of all instruction sets against sums of products in f64.

use super::arguments::Arguments;
use super::images::Direct;
use super::lanes::Instructions;
use super::plan::{Group, Plan};
use crate::nn::activation::Fused;
use crate::nn::window::Window;

/// A convolution of a few rows.
#[derive(Debug, Clone, Copy)]
struct Case {
    rows: usize,
    groups: usize,
    channels: usize,
    outputs: usize,
    image: [usize; 2],
    window: Window,
}

/// The inputs of a case, and the slopes of its output.
struct Numbers {
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

fn case(
    [groups, channels, outputs]: [usize; 3],
    image: [usize; 2],
    [kernel, stride, padding]: [usize; 3],
) -> Case {
    Case {
        rows: 2,
        groups,
        channels,
        outputs,
        image,
        window: Window::square(kernel, stride, padding),
    }
}

/// Shapes that are odd in some way: lanes that are not full, one pixel, strides that leave pixels out, padding that no pixel is
/// under, lines that are shorter and longer than vectors, more positions than a block, and more terms than one sum has.
fn cases() -> Vec<Case> {
    let line = Case {
        rows: 3,
        groups: 1,
        channels: 5,
        outputs: 7,
        image: [1, 37],
        window: Window::line(5, 3, 2),
    };
    let uneven = Window {
        kernel: [3, 2],
        stride: [1, 2],
        padding: [2, 0],
    };
    vec![
        case([1, 1, 32], [9, 8], [3, 1, 0]),
        case([1, 4, 17], [6, 7], [3, 1, 1]),
        case([1, 3, 8], [7, 7], [3, 2, 1]),
        case([2, 3, 5], [8, 9], [3, 2, 0]),
        case([1, 6, 40], [5, 5], [1, 1, 0]),
        case([1, 2, 9], [8, 8], [2, 3, 1]),
        case([1, 2, 4], [11, 6], [1, 2, 0]),
        case([1, 40, 19], [5, 4], [3, 1, 1]),
        case([1, 2, 16], [16, 17], [3, 1, 1]),
        case([1, 1, 4], [1, 1], [1, 1, 0]),
        case([1, 5, 6], [1, 1], [3, 1, 1]),
        case([1, 2, 5], [4, 4], [5, 1, 2]),
        case([1, 2, 5], [3, 3], [3, 1, 2]),
        case([6, 1, 1], [7, 7], [3, 1, 1]),
        case([4, 1, 1], [9, 20], [3, 2, 1]),
        case([3, 1, 2], [6, 33], [5, 1, 2]),
        case([2, 4, 3], [5, 18], [3, 1, 1]),
        case([1, 4, 1], [6, 6], [3, 3, 1]),
        case([1, 5, 1], [6, 6], [3, 1, 1]),
        case([3, 2, 3], [7, 9], [2, 3, 0]),
        Case {
            window: uneven,
            ..case([1, 3, 6], [4, 7], [1, 1, 0])
        },
        Case {
            window: uneven,
            ..case([5, 1, 1], [4, 7], [1, 1, 0])
        },
        line,
        Case {
            groups: 5,
            channels: 1,
            outputs: 1,
            ..line
        },
    ]
}

impl Case {
    fn group(&self) -> Group {
        Group {
            window: self.window,
            channels: self.channels,
            outputs: self.outputs,
            image: self.image,
            positions: self.window.positions(self.image).unwrap(),
        }
    }

    fn numbers(&self) -> Numbers {
        let group = self.group();
        let mut state = 1u32;
        let mut draw = |count: usize| {
            let numbers = (0..count).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            });
            numbers.collect::<Vec<f32>>()
        };
        let images = self.rows * self.groups;
        Numbers {
            x: draw(images * self.channels * group.pixels()),
            weight: draw(self.groups * self.outputs * group.depth()),
            bias: draw(self.groups * self.outputs),
            dy: draw(images * self.outputs * group.places()),
        }
    }

    /// Calls `each` with the places of each product in the weights, the input and the output.
    fn each_product(&self, mut each: impl FnMut(usize, usize, usize)) {
        let (group, area) = (self.group(), self.window.area());
        let ([height, width], [down, across]) = (self.image, group.positions);
        for image in 0..self.rows * self.groups {
            let of_group = image % self.groups * self.outputs;
            for output in 0..self.outputs {
                for (term, place) in (0..group.depth())
                    .flat_map(|term| (0..down * across).map(move |place| (term, place)))
                {
                    let (channel, element) = (term / area, term % area);
                    let along = |axis: usize, place: usize, offset: usize| {
                        let start = place * self.window.stride[axis] + offset;
                        let pixel = start.checked_sub(self.window.padding[axis]);
                        pixel.filter(|pixel| *pixel < self.image[axis])
                    };
                    let wide = self.window.kernel[1];
                    let y = along(0, place / across, element / wide);
                    let x = along(1, place % across, element % wide);
                    if let (Some(y), Some(x)) = (y, x) {
                        each(
                            (of_group + output) * group.depth() + term,
                            ((image * self.channels + channel) * height + y) * width + x,
                            (image * self.outputs + output) * down * across + place,
                        );
                    }
                }
            }
        }
    }

    /// The output, and the slopes of input, weights and bias, by their definitions.
    fn expected(&self, numbers: &Numbers, activation: Option<Fused>) -> [Vec<f64>; 4] {
        let places = self.group().places();
        let channels = self.groups * self.outputs;
        let bias = |y: usize| f64::from(numbers.bias[y / places % channels]);
        let mut y: Vec<f64> = (0..numbers.dy.len()).map(bias).collect();
        let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
        self.each_product(|weight, from, to| {
            y[to] += product(numbers.weight[weight], numbers.x[from]);
        });
        if let Some(activation) = activation {
            y.iter_mut().for_each(|y| *y = activation.value(*y));
        }
        let slopes = y.iter().zip(&numbers.dy).map(|(&y, &dy)| {
            let dy = f64::from(dy);
            activation.map_or(dy, |activation| activation.slope(y, dy))
        });
        let dz: Vec<f64> = slopes.collect();
        let mut dx = vec![0.0; numbers.x.len()];
        let mut dw = vec![0.0; numbers.weight.len()];
        self.each_product(|weight, from, to| {
            dx[from] += f64::from(numbers.weight[weight]) * dz[to];
            dw[weight] += f64::from(numbers.x[from]) * dz[to];
        });
        let mut db = vec![0.0; channels];
        for (place, dz) in dz.iter().enumerate() {
            db[place / places % channels] += dz;
        }
        [y, dx, dw, db]
    }
}

/// The largest difference from what is expected, in units of the largest expected number.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected
        .iter()
        .fold(1.0f64, |max, value| max.max(value.abs()));
    let pairs = found.iter().zip(expected);
    let differences = pairs.map(|(&found, expected)| (f64::from(found) - expected).abs());
    differences.fold(0.0, f64::max) / scale
}

#[test]
fn outputs_and_slopes_are_sums_of_products() {
    for case in cases() {
        let numbers = case.numbers();
        let Numbers {
            x,
            weight,
            bias,
            dy,
        } = &numbers;
        for activation in [
            None,
            Some(Fused::Relu),
            Some(Fused::Tanh),
            Some(Fused::Sigmoid),
        ] {
            let expected = case.expected(&numbers, activation);
            let found = Instructions::all().map(|instructions| {
                let direct = Direct::with(instructions, case.group(), activation);
                let arguments = Arguments { x, weight, bias };
                let y = direct.forward(arguments).unwrap();
                let slopes = direct.slopes(arguments, [&y, dy], true).unwrap();
                let without = direct.slopes(arguments, [&y, dy], false).unwrap();
                assert!(without.dx.is_none());
                assert_eq!((&without.dw, &without.db), (&slopes.dw, &slopes.db));
                [y, slopes.dx.unwrap(), slopes.dw, slopes.db]
            });
            let found: Vec<[Vec<f32>; 4]> = found.collect();
            for found in &found {
                for (name, (found, expected)) in ["y", "dx", "dw", "db"]
                    .iter()
                    .zip(found.iter().zip(&expected))
                {
                    let error = error(found, expected);
                    assert!(error < 1e-5, "{name} of {case:?} {activation:?}: {error}");
                }
            }
            // Each number is a sum in the same order.
            assert!(found.iter().all(|of_set| *of_set == found[0]), "{case:?}");
        }
    }
}

/// The place in the output of the greatest element of each square: the first one, or the first NaN.
fn greatest(full: &[f32], [down, across]: [usize; 2]) -> Vec<[usize; 2]> {
    let channels = full.len() / (down * across);
    let squares = (0..channels).flat_map(|channel| {
        let lines = (0..down / 2).map(move |line| (channel * down + line * 2) * across);
        lines.flat_map(|line| (0..across / 2).map(move |column| line + column * 2))
    });
    let greatest = squares.map(|corner| {
        let all = [0, 1, across, across + 1].map(|offset| full[corner + offset]);
        let max = all
            .iter()
            .fold(f32::NEG_INFINITY, |max, &value| max.max(value));
        let is_nan = all.iter().position(|value| value.is_nan());
        let place = is_nan
            .or(all.iter().position(|&value| value == max))
            .unwrap();
        [corner + [0, 1, across, across + 1][place], place]
    });
    greatest.collect()
}

#[test]
fn a_pool_keeps_the_greatest_of_each_square() {
    for case in cases() {
        let positions = case.group().positions;
        if positions.contains(&1) {
            continue;
        }
        let mut numbers = case.numbers();
        numbers.x[1] = f32::NAN;
        let Numbers {
            x, weight, bias, ..
        } = &numbers;
        let arguments = Arguments { x, weight, bias };
        for instructions in Instructions::all() {
            let relu = Some(Fused::Relu);
            let direct = Direct::with(instructions, case.group(), relu);
            let full = direct.forward(arguments).unwrap();
            let squares = direct.forward_squares(arguments, true).unwrap();
            let only = direct.forward_squares(arguments, false).unwrap();
            assert!(only.places.is_empty());
            let expected = greatest(&full, positions);
            assert_eq!(squares.y.len(), expected.len());
            for (number, [at, place]) in expected.into_iter().enumerate() {
                let greatest = full[at];
                for y in [squares.y[number], only.y[number]] {
                    let is_same = y == greatest || (y.is_nan() && greatest.is_nan());
                    assert!(is_same, "{case:?} {at}: {y}, expected {greatest}");
                }
                assert_eq!(usize::from(squares.places[number]), place, "{case:?} {at}");
            }
        }
    }
}

#[test]
fn slopes_go_through_a_pool() {
    for case in cases() {
        let positions = case.group().positions;
        if positions.contains(&1) {
            continue;
        }
        let numbers = case.numbers();
        let Numbers {
            x, weight, bias, ..
        } = &numbers;
        let arguments = Arguments { x, weight, bias };
        for activation in [
            None,
            Some(Fused::Relu),
            Some(Fused::Tanh),
            Some(Fused::Sigmoid),
        ] {
            let instructions = Instructions::all().next().unwrap();
            let direct = Direct::with(instructions, case.group(), activation);
            let full = direct.forward(arguments).unwrap();
            let squares = direct.forward_squares(arguments, true).unwrap();
            let dy = &numbers.dy[..squares.y.len()];
            let mut full_dy = vec![0.0; full.len()];
            let places = greatest(&full, positions);
            places
                .iter()
                .zip(dy)
                .for_each(|([at, _], dy)| full_dy[*at] = *dy);
            let pooled = (&squares.y[..], &squares.places[..]);
            let found = direct
                .slopes_of_squares(arguments, pooled, dy, true)
                .unwrap();
            let expected = direct.slopes(arguments, [&full, &full_dy], true).unwrap();
            assert_eq!(found.dw, expected.dw, "{case:?}");
            assert_eq!(found.db, expected.db, "{case:?}");
            assert_eq!(found.dx, expected.dx, "{case:?}");
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    for case in cases() {
        let Numbers {
            x, weight, bias, ..
        } = case.numbers();
        for instructions in Instructions::all() {
            let direct = Direct::with(instructions, case.group(), None);
            let forward = |x: &[f32]| {
                let (weight, bias) = (&weight, &bias);
                direct.forward(Arguments { x, weight, bias }).unwrap()
            };
            let together = forward(&x);
            let alone = x.chunks(x.len() / case.rows).flat_map(forward);
            assert_eq!(alone.collect::<Vec<f32>>(), together, "{case:?}");
        }
    }
}

#[test]
fn a_nan_stays_a_nan() {
    for case in [
        case([1, 2, 9], [5, 5], [3, 1, 1]),
        case([2, 1, 1], [5, 5], [3, 1, 1]),
    ] {
        let mut numbers = case.numbers();
        numbers.x[0] = f32::NAN;
        for instructions in Instructions::all() {
            let relu = Some(Fused::Relu);
            let direct = Direct::with(instructions, case.group(), relu);
            let Numbers {
                x, weight, bias, ..
            } = &numbers;
            let y = direct.forward(Arguments { x, weight, bias }).unwrap();
            // The first pixel is under the positions of the first two rows and columns.
            for (place, y) in y[..25].iter().enumerate() {
                let is_near = place / 5 < 2 && place % 5 < 2;
                assert_eq!(y.is_nan(), is_near, "{case:?}: {place}");
            }
        }
    }
}

#[test]
fn each_pixel_has_one_plan_at_most_with_a_term_for_each_of_its_products() {
    for case in cases() {
        let group = case.group();
        let mut terms = vec![0; group.channels * group.pixels()];
        for plan in Plan::of_input_slopes(&group) {
            for line in &plan.lines {
                for number in 0..plan.count {
                    let pixel = line[1] + number * plan.steps[1];
                    assert_eq!(terms[pixel], 0, "{case:?}");
                    terms[pixel] = plan.terms.len();
                }
            }
        }
        let mut products = vec![0; case.numbers().x.len()];
        case.each_product(|_, x, _| products[x] += 1);
        for (x, products) in products.into_iter().enumerate() {
            let pixel = x % group.pixels();
            assert!(products <= terms[pixel], "{case:?}: pixel {pixel}");
        }
    }
}
