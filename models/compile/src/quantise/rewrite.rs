//! A section with the weights and tables that are worth it in halves or bytes, and without the constants that nothing reads any
//! more.

use std::collections::BTreeMap;

use selvedge_format::graph::{
    Graph, INPUT_MOST, MAX_BYTE_INPUTS, Memory, Numbers, PANEL, Product, Step, View, pack_bytes,
};

/// The largest weight of a byte; -128 is not used, so that weights are as exact on either side.
const MOST: f32 = 127.0;

/// What weights become.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Half,
    Byte,
}

/// A section and how much of it changed.
pub(super) struct Rewritten {
    pub(super) section: Vec<u8>,
    pub(super) layers: usize,
    pub(super) tables: usize,
}

/// What is written beside the steps.
#[derive(Default)]
struct Narrow {
    bytes: Vec<u8>,
    /// Scales, which go behind the constants that stay.
    scales: Vec<f32>,
    /// Tables that were written already, by place and shape, with their new place and their scales' among the scales.
    tables: BTreeMap<(u32, u32, u32), Option<(u32, u32)>>,
}

/// Rewrites a program of `f32`. `reach` says, for a layer, how far its inputs go from 0.
pub(super) fn rewrite(graph: &Graph<'_>, width: Width, reach: impl Fn(usize) -> f32) -> Rewritten {
    let constants: Vec<f32> = graph.constants.iter().collect();
    let mut steps = graph.steps.clone();
    let (mut narrow, mut layers, mut tables) = (Narrow::default(), 0, 0);
    for (at, step) in steps.iter_mut().enumerate() {
        match step {
            Step::Product(product) => layers += usize::from(narrow.layer(product, &constants, width, reach(at))),
            Step::Gather(gather) if gather.numbers == Numbers::Single => {
                let (rows, wide) = (gather.rows as usize, gather.width as usize);
                let values = &constants[gather.table as usize..][..rows * wide];
                let key = (gather.table, gather.rows, gather.width);
                let known = narrow.tables.get(&key).copied();
                let placed = known.unwrap_or_else(|| narrow.table(values, wide, width));
                narrow.tables.insert(key, placed);
                if let Some((table, scales)) = placed {
                    gather.table = table;
                    gather.numbers = if width == Width::Half { Numbers::Half } else { Numbers::Byte { scales } };
                    tables += 1;
                }
            }
            Step::Each(_) | Step::Gather(_) | Step::Meet(_) => {}
        }
    }
    let kept = keep(&mut steps, &constants);
    let first = kept.len() as u32;
    for step in &mut steps {
        let numbers = match step {
            Step::Product(product) => &mut product.numbers,
            Step::Gather(gather) => &mut gather.numbers,
            Step::Each(_) | Step::Meet(_) => continue,
        };
        if let Numbers::Byte { scales } = numbers {
            *scales += first;
        }
    }
    let constants: Vec<f32> = kept.into_iter().chain(narrow.scales).collect();
    let (request, columns, score) = (graph.request as u32, graph.columns as u32, graph.score as u32);
    let section = Graph::encode(request, columns, score, &steps, &constants, &narrow.bytes);
    Rewritten { section, layers, tables }
}

impl Narrow {
    /// Makes a layer's weights narrow; false where it stays as it is.
    fn layer(&mut self, product: &mut Product, constants: &[f32], width: Width, reach: f32) -> bool {
        if product.numbers != Numbers::Single {
            return false;
        }
        let (inputs, outputs) = (product.inputs as usize, product.outputs as usize);
        let packed = &constants[product.weights as usize..][..inputs * outputs.next_multiple_of(PANEL)];
        let place = self.bytes.len() as u32;
        match width {
            Width::Half => {
                let Some(bytes) = halves(packed) else { return false };
                self.bytes.extend(bytes);
                product.numbers = Numbers::Half;
            }
            Width::Byte => {
                let Some((weights, scales)) = whole_weights(packed, inputs, outputs, reach) else { return false };
                product.numbers = Numbers::Byte { scales: self.scales.len() as u32 };
                self.scales.extend(scales);
                self.bytes.extend(pack_bytes(&weights, inputs, outputs));
            }
        }
        product.weights = place;
        true
    }

    /// Writes a table, and says where and where its scales are; none where it is not worth it.
    fn table(&mut self, values: &[f32], wide: usize, width: Width) -> Option<(u32, u32)> {
        let place = (self.bytes.len() as u32, self.scales.len() as u32);
        if width == Width::Half {
            self.bytes.extend(halves(values)?);
            return Some(place);
        }
        // Rows of one value are larger with a scale than without.
        if wide < 2 || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let scales: Vec<f32> = values.chunks_exact(wide).map(scale).collect();
        if scales.iter().any(|scale| !scale.is_normal()) {
            return None;
        }
        for (row, scale) in values.chunks_exact(wide).zip(&scales) {
            self.bytes.extend(row.iter().map(|value| nearest(*value, *scale) as u8));
        }
        self.scales.extend(scales);
        Some(place)
    }
}

/// Bytes of halves, rounded to the nearest, half to even; none where one is too large.
fn halves(values: &[f32]) -> Option<Vec<u8>> {
    let halves: Option<Vec<u16>> = values.iter().map(|value| half(*value)).collect();
    Some(halves?.into_iter().flat_map(u16::to_le_bytes).collect())
}

/// The nearest half; none beyond the largest.
fn half(value: f32) -> Option<u16> {
    /// What rounds to infinity: the largest half and half a step.
    const TOO_LARGE: f32 = 65520.0;
    /// The smallest half that is not denormal, and the step of those that are.
    const NORMAL: f32 = f32::from_bits((127 - 14) << 23);
    const STEP: f32 = f32::from_bits((127 - 24) << 23);
    let magnitude = value.abs();
    if magnitude.is_nan() || magnitude >= TOO_LARGE {
        return None;
    }
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    if magnitude < NORMAL {
        return Some(sign | (magnitude / STEP).round_ties_even() as u16);
    }
    // Thirteen bits of the fraction go: what they say beyond half a step, or at it if the last bit that stays is 1, rounds up.
    let bits = magnitude.to_bits() - ((127 - 15) << 23);
    let rounded = bits + 0xfff + (bits >> 13 & 1);
    Some(sign | (rounded >> 13) as u16)
}

fn scale(values: &[f32]) -> f32 {
    let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if most == 0.0 { 1.0 } else { most / MOST }
}

fn nearest(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-MOST, MOST) as i8
}

/// Weights `[inputs][outputs]` as bytes, with the multiplier of the inputs and a scale per output.
fn whole_weights(packed: &[f32], inputs: usize, outputs: usize, reach: f32) -> Option<(Vec<i8>, Vec<f32>)> {
    if inputs > MAX_BYTE_INPUTS || packed.iter().any(|weight| !weight.is_finite()) {
        return None;
    }
    let multiplier = if reach == 0.0 { 1.0 } else { f32::from(INPUT_MOST) / reach };
    let mut weights = vec![0; inputs * outputs];
    let mut scales = vec![multiplier];
    for output in 0..outputs {
        let panel = &packed[output / PANEL * inputs * PANEL..][..inputs * PANEL];
        let column: Vec<f32> = panel.iter().skip(output % PANEL).step_by(PANEL).copied().collect();
        let scale = scale(&column);
        for (input, weight) in column.iter().enumerate() {
            weights[input * outputs + output] = nearest(*weight, scale);
        }
        scales.push(scale / multiplier);
    }
    scales.iter().all(|scale| scale.is_normal()).then_some((weights, scales))
}

/// The constants that the steps still read, in their order; places are moved.
fn keep(steps: &mut [Step], constants: &[f32]) -> Vec<f32> {
    let mut is_read = vec![false; constants.len()];
    for_each_range(steps, &mut |place, length| is_read[*place as usize..][..length].fill(true));
    let mut moved = Vec::with_capacity(constants.len());
    let mut kept = Vec::new();
    for (value, is_read) in constants.iter().zip(&is_read) {
        moved.push(kept.len() as u32);
        if *is_read {
            kept.push(*value);
        }
    }
    for_each_range(steps, &mut |place, _| *place = moved[*place as usize]);
    kept
}

/// Shows every place in the constants, and how many from there on are read at most.
fn for_each_range(steps: &mut [Step], see: &mut dyn FnMut(&mut u32, usize)) {
    fn view<const N: usize>(view: &mut View<N>, sizes: &[u32; N], width: u32, see: &mut dyn FnMut(&mut u32, usize)) {
        if view.memory == Memory::Constants {
            let last: u64 =
                sizes.iter().zip(&view.strides).map(|(size, stride)| u64::from(size - 1) * u64::from(*stride)).sum();
            see(&mut view.offset, last as usize + width as usize);
        }
    }
    for step in steps {
        match step {
            Step::Each(each) => {
                view(&mut each.left, &each.sizes, 1, see);
                view(&mut each.right, &each.sizes, 1, see);
            }
            Step::Product(product) => {
                view(&mut product.start, &[product.positions], product.outputs, see);
                if product.numbers == Numbers::Single {
                    let length = product.stored() as usize;
                    see(&mut product.weights, length);
                }
            }
            Step::Gather(gather) => {
                view(&mut gather.from, &[gather.ids], 1, see);
                if gather.numbers == Numbers::Single {
                    see(&mut gather.table, gather.rows as usize * gather.width as usize);
                }
            }
            Step::Meet(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_format::graph::widen;

    use super::half;

    #[test]
    fn every_half_is_its_own_nearest() {
        for bits in 0..=u16::MAX {
            if bits & 0x7c00 != 0x7c00 {
                assert_eq!(half(widen(bits)), Some(bits), "{}", widen(bits));
            }
        }
    }

    #[test]
    fn between_two_halves_the_nearer_is_taken_and_of_two_the_even() {
        for bits in 0..0x7bff_u16 {
            let (low, high) = (widen(bits), widen(bits + 1));
            let middle = (low + high) / 2.0;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!(half(middle), Some(even), "{middle}");
            assert_eq!(half(middle.next_down()), Some(bits), "{middle}");
            assert_eq!(half(middle.next_up()), Some(bits + 1), "{middle}");
        }
        assert_eq!(half(65519.996), Some(0x7bff));
        assert_eq!([half(65520.0), half(f32::NAN), half(f32::NEG_INFINITY)], [None; 3]);
    }
}
