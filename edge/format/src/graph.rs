//! Tensor programs: the weights of a model of the kind `graph`.
//!
//! A program is a list of steps over four memories. Values that depend on the candidate are *columns*, one number per
//! candidate; values that are the same for all candidates of a request are single numbers and are computed once. A step
//! names places in these memories by an offset and strides, so that reshaping, slicing, transposing, broadcasting and
//! concatenating are ways to name places and no operations. Three steps are enough for what is done to each candidate alone,
//! and one is for lists, where candidates meet:
//!
//! - [`Each`]: a function of two values for every index of a small space, stored or combined with what is there. With a
//!   stride of 0 in the result it reduces; multiplied and added it contracts, as an einsum does.
//! - [`Product`]: a dense layer, with weights packed for the kernel.
//! - [`Gather`]: rows of a table by ids.
//! - [`Meet`]: self-attention over the list, where every candidate gets the values of all, weighted by how they match it; or a sum, a
//!   product or an extreme over the list, the same for every candidate.
//!
//! Weights and tables may be stored as halves or as bytes with scales ([`Numbers`]): that is what they are on the wire, too.
//!
//! ```text
//! 0   4  numbers of the request memory
//! 4   4  columns of the candidates' memory
//! 8   4  column of the score
//! 12  4  number of steps
//! 16  4  number of constants
//! 20  4  number of narrow bytes
//! 24  .. steps, words of 4 bytes
//! ..  .. constants, f32
//! ..  .. narrow bytes: weights and tables that are no f32
//!
//! step: code u32 = kind | function << 8 | combination or numbers << 16 | dimensions << 24, then
//!   0 each     size u32 per dimension, outermost first; result, left and right: place u32, stride u32 per dimension
//!   1 product  positions u32, inputs u32, outputs u32; result, input, start and what is added: place u32, stride of a
//!              position u32; weights u32; of bytes: scales u32
//!   2 gather   ids u32, table u32, table rows u32, width u32; result and ids: place u32, stride u32; of bytes: scales u32
//!   3 meet     heads u32, width u32, value width u32; first columns u32 of result, queries, keys and values
//! place: memory << 30 | offset; memory 0 constants, 1 request, 2 candidates, 3 features
//! ```
//!
//! Packed weights are panels of [`PANEL`] outputs: `f32[outputs / PANEL][inputs][PANEL]`, filled with zeros; bytes are packed in
//! pairs of inputs, `i8[outputs / PANEL][inputs / 2][PANEL][2]`. The idea of addressing everything by strides is that of array
//! libraries since APL; packing weights in panels is Goto's (2008); whole numbers with a scale per output are those of Jacob
//! et al. (1712.05877). Rerankers that attend to the list are those of Pei et al. (PRM, 1904.06813) and of Pang et al. (SetRank,
//! 1912.05891).
//!
//! A successful parse proves that every index is in its memory, that nothing of the request depends on a candidate, and
//! that the work is bounded. What is read before it is written is 0, so a program means the same wherever it runs.

use alloc::vec::Vec;

use crate::DecodeError;
use crate::read::Reader;
use crate::{F32s, U16s};

/// Most steps of a program.
pub const MAX_STEPS: usize = 4096;
/// Most dimensions of an [`Each`].
pub const MAX_DIMS: usize = 6;
/// Most numbers of the request memory.
pub const MAX_REQUEST: usize = 1 << 20;
/// Most columns of the candidates' memory.
pub const MAX_COLUMNS: usize = 1 << 15;
/// Most columns of a program in which candidates meet: those of all candidates are kept, 16 MB for two thousand.
pub const MAX_LIST_COLUMNS: usize = 1 << 11;
/// Most constants.
pub const MAX_CONSTANTS: usize = 1 << 24;
/// Most values that all steps of a program may compute, for a request, for a candidate or for a pair of candidates.
pub const MAX_WORK: u64 = 1 << 32;
/// Outputs of a panel of packed weights.
pub const PANEL: usize = 4;
/// Most inputs of a [`Product`] of bytes: the sum of as many products of the largest numbers is an `i32`.
pub const MAX_BYTE_INPUTS: usize = 1 << 13;
/// Inputs of a [`Product`] of bytes are whole numbers from the negative of this to this: 12 bits.
pub const INPUT_MOST: i16 = 2047;

/// Place of the four memories in a `place` word.
const MEMORY_SHIFT: u32 = 30;
const PLACE: &str = "graph";
/// Exponent of halves that are infinite or NaN.
const HALF_INFINITE: u16 = 0x7c00;

/// Where values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What the model has learnt.
    Constants,
    /// The same for all candidates of a request.
    Request,
    /// One value per candidate.
    Candidates,
    /// The features, read only: for a result of the request, those of the first candidate.
    Features,
}

/// A function of a left and a right value. Functions of one value ignore the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Function {
    /// The left value.
    Left,
    /// `l + r`.
    Add,
    /// `l - r`.
    Subtract,
    /// `l * r`.
    Multiply,
    /// `l / r`.
    Divide,
    /// The larger; NaN if either is.
    Max,
    /// The smaller; NaN if either is.
    Min,
    /// 1 if `l < r`, else 0.
    Less,
    /// 1 if `l = r`, else 0.
    Equal,
    /// `e^l`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// Without its sign.
    Abs,
    /// The next whole number below.
    Floor,
    /// The nearest whole number, half to even.
    Round,
    /// `1 / (1 + e^-l)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
}

/// What becomes of a function's value and what the result's place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Combination {
    /// The value.
    Store,
    /// Their sum.
    Add,
    /// Their product.
    Multiply,
    /// The larger.
    Max,
    /// The smaller.
    Min,
    /// The right value where the function's value is not 0, else what was there.
    Select,
}

/// A place and the way from one value to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<const N: usize> {
    /// In which memory.
    pub memory: Memory,
    /// The first value.
    pub offset: u32,
    /// By dimension, outermost first.
    pub strides: [u32; N],
}

/// How weights and tables are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// `f32`, among the constants.
    Single,
    /// IEEE 754 half precision, little-endian, among the narrow bytes; none is infinite or NaN.
    Half,
    /// `i8` among the narrow bytes, of which each stands for itself times a scale.
    Byte {
        /// Offset in the constants. For a table: a scale per row. For a product: what inputs are multiplied with before they
        /// are rounded, then what the sum of each output is multiplied with. All are above 0 and finite.
        scales: u32,
    },
    /// `f32`, packed among the numbers of the request by steps before: weights of a product of candidates, as those of attention to
    /// what the request tells of the user.
    Request,
}

/// A function over an index space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Each {
    /// Of the two values.
    pub function: Function,
    /// With what is there.
    pub combination: Combination,
    /// Size of each dimension, outermost first; those that are not used are 1.
    pub sizes: [u32; MAX_DIMS],
    /// Where the result goes.
    pub out: View<MAX_DIMS>,
    /// The left value.
    pub left: View<MAX_DIMS>,
    /// The right value.
    pub right: View<MAX_DIMS>,
}

/// `out = function(start + input * weights + addend)` at each of a number of positions. Inputs and outputs of a position lie next to
/// each other, in one memory.
///
/// Of bytes it is `function(start + scale * (whole * weights) + addend)`, where the whole inputs are `input * multiplier`, rounded half to
/// even and at most [`INPUT_MOST`] from 0; what is not a number is 0. Their sum is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Of one value.
    pub function: Function,
    /// How often.
    pub positions: u32,
    /// Inputs of a position.
    pub inputs: u32,
    /// Outputs of a position.
    pub outputs: u32,
    /// Where the outputs go.
    pub out: View<1>,
    /// The inputs.
    pub input: View<1>,
    /// Where each sum starts: a bias, or what the request contributes.
    pub start: View<1>,
    /// Columns that are added to each sum at last: what the candidate contributes to all positions, where sums start from what the
    /// request contributes to each. A place in the constants says that there are none.
    pub addend: View<1>,
    /// Offset of the packed weights, in the constants, the narrow bytes or the request's memory.
    pub weights: u32,
    /// What the weights are.
    pub numbers: Numbers,
}

/// Rows of a table, side by side. An id that is not a row gives NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// How many.
    pub ids: u32,
    /// Offset of the table, in the constants or the narrow bytes.
    pub table: u32,
    /// What its values are.
    pub numbers: Numbers,
    /// Its rows.
    pub rows: u32,
    /// Values of a row.
    pub width: u32,
    /// Where the rows go.
    pub out: View<1>,
    /// The ids; a negative one counts from the end.
    pub from: View<1>,
}

/// What every candidate of a request gets from all of them.
///
/// Queries and keys make it attention: for each head, `out_i = sum_j e_ij value_j` with `e_ij = e^(s_ij - max_j s_ij)` and
/// `s_ij = query_i * key_j`. A value that is always 1 gives what a softmax divides by. Without queries and keys it is a reduction, the
/// same for all: the function of what came out so far, at first the first candidate's values, and the next candidate's. All go over the
/// candidates in the order of the request, with one accumulator for each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meet {
    /// [`Function::Left`] for attention; of two values, for a reduction.
    pub function: Function,
    /// How many heads; the columns of one lie behind those of the one before it.
    pub heads: u32,
    /// Columns of a head's query, and of its key; 0 for a reduction.
    pub width: u32,
    /// Columns of a head's value, and of its result; a multiple of [`PANEL`].
    pub value_width: u32,
    /// First column of the result.
    pub out: u32,
    /// First column of the queries.
    pub query: u32,
    /// First column of the keys.
    pub key: u32,
    /// First column of the values.
    pub value: u32,
}

/// A step of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A function over an index space.
    Each(Each),
    /// A dense layer.
    Product(Product),
    /// Rows of a table.
    Gather(Gather),
    /// What is computed of all candidates at once.
    Meet(Meet),
}

/// What a step is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Per {
    /// Once.
    Request,
    /// Each candidate.
    Candidate,
    /// Each pair of candidates.
    Pair,
}

/// A validated program and its constants.
#[derive(Clone, Debug)]
pub struct Graph<'a> {
    /// Numbers of the request memory.
    pub request: usize,
    /// Columns of the candidates' memory.
    pub columns: usize,
    /// Column of the score.
    pub score: usize,
    /// In the order in which they are done; those of the request come first for a request.
    pub steps: Vec<Step>,
    /// What the model has learnt; none is NaN.
    pub constants: F32s<'a>,
    /// What it has learnt and is stored in less.
    pub bytes: &'a [u8],
}

const MEMORIES: [Memory; 4] = [Memory::Constants, Memory::Request, Memory::Candidates, Memory::Features];
const FUNCTIONS: [Function; 18] = [
    Function::Left,
    Function::Add,
    Function::Subtract,
    Function::Multiply,
    Function::Divide,
    Function::Max,
    Function::Min,
    Function::Less,
    Function::Equal,
    Function::Exp,
    Function::Log,
    Function::Sqrt,
    Function::Abs,
    Function::Floor,
    Function::Round,
    Function::Sigmoid,
    Function::Tanh,
    Function::Erf,
];
const COMBINATIONS: [Combination; 6] = [
    Combination::Store,
    Combination::Add,
    Combination::Multiply,
    Combination::Max,
    Combination::Min,
    Combination::Select,
];

/// Words one after the other. Past the end they are 0, so that one check at the end of a step is enough.
struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Words<'_> {
    // Not inlined: a step is read once, and has many words.
    #[inline(never)]
    fn next(&mut self) -> u32 {
        let word = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_le_bytes(*word));
        self.at += size_of::<u32>();
        word
    }

    #[inline(never)]
    fn fill(&mut self, words: &mut [u32]) {
        words.iter_mut().for_each(|word| *word = self.next());
    }
}

impl<const N: usize> View<N> {
    /// A place where there is nothing.
    pub const NONE: Self = Self { memory: Memory::Constants, offset: 0, strides: [0; N] };

    fn read(words: &mut Words<'_>, dims: usize) -> Self {
        let place = words.next();
        let mut view = Self {
            memory: MEMORIES[(place >> MEMORY_SHIFT) as usize],
            offset: place & ((1 << MEMORY_SHIFT) - 1),
            strides: [0; N],
        };
        words.fill(&mut view.strides[N - dims..]);
        view
    }

    /// One past the furthest value, where each index has `width` values.
    fn end(&self, sizes: &[u32; N], width: u32) -> u64 {
        furthest(&self.strides, sizes, u64::from(self.offset) + u64::from(width))
    }
}

/// `end`, and as far as the last index is from the first.
#[inline(never)]
fn furthest(strides: &[u32], sizes: &[u32], end: u64) -> u64 {
    let steps = sizes.iter().zip(strides).map(|(size, stride)| u64::from(size - 1) * u64::from(*stride));
    steps.fold(end, u64::saturating_add)
}

impl Numbers {
    fn read(words: &mut Words<'_>, code: Combination) -> Option<Self> {
        Some(match code as u8 {
            0 => Self::Single,
            1 => Self::Half,
            2 => Self::Byte { scales: words.next() },
            3 => Self::Request,
            _ => return None,
        })
    }

    /// The code of a step, and the word behind its other words.
    const fn code(self) -> (u8, Option<u32>) {
        match self {
            Self::Single => (0, None),
            Self::Half => (1, None),
            Self::Byte { scales } => (2, Some(scales)),
            Self::Request => (3, None),
        }
    }
}

impl Product {
    /// How many weights are stored.
    #[must_use]
    pub fn stored(&self) -> u64 {
        let together = if matches!(self.numbers, Numbers::Byte { .. }) { 2 } else { 1 };
        let inputs = u64::from(self.inputs).next_multiple_of(together);
        inputs.saturating_mul(u64::from(self.outputs).next_multiple_of(PANEL as u64))
    }
}

impl Step {
    /// Values computed, for the request, per candidate or, in attention, per pair of candidates: products and their sums
    /// count as one.
    #[must_use]
    pub fn work(&self) -> u64 {
        match self {
            Self::Each(each) => each.sizes.iter().fold(1, |work, size| u64::saturating_mul(work, (*size).into())),
            Self::Product(product) => {
                [product.positions, product.inputs, product.outputs.next_multiple_of(PANEL as u32)]
                    .into_iter()
                    .fold(1, |work, size| u64::saturating_mul(work, size.into()))
            }
            Self::Gather(gather) => u64::from(gather.ids) * u64::from(gather.width),
            Self::Meet(meet) => u64::from(meet.heads) * (u64::from(meet.width) + u64::from(meet.value_width)),
        }
    }

    /// Whether it needs all candidates at once.
    #[must_use]
    pub const fn is_of_list(&self) -> bool {
        matches!(self, Self::Meet(_))
    }

    /// What it is done for.
    #[must_use]
    pub fn per(&self) -> Per {
        match self {
            Self::Meet(meet) if meet.width > 0 => Per::Pair,
            _ if self.is_of_request() => Per::Request,
            _ => Per::Candidate,
        }
    }

    /// Whether it is done once per request.
    #[must_use]
    pub fn is_of_request(&self) -> bool {
        let out = match self {
            Self::Each(each) => each.out.memory,
            Self::Product(product) => product.out.memory,
            Self::Gather(gather) => gather.out.memory,
            Self::Meet(_) => Memory::Candidates,
        };
        out == Memory::Request
    }

    /// A step; whether its places are there is asked later.
    fn read(words: &mut Words<'_>) -> Option<Self> {
        let [kind, function, combination, dims] = words.next().to_le_bytes();
        let function = *FUNCTIONS.get(usize::from(function))?;
        let combination = *COMBINATIONS.get(usize::from(combination))?;
        let dims = usize::from(dims);
        Some(match kind {
            0 if dims <= MAX_DIMS => {
                let mut sizes = [1; MAX_DIMS];
                words.fill(&mut sizes[MAX_DIMS - dims..]);
                // A first dimension of size 1 would be a second form of the same step.
                if dims > 0 && sizes[MAX_DIMS - dims] == 1 {
                    return None;
                }
                let [out, left, right] = [(); 3].map(|()| View::read(words, dims));
                Self::Each(Each { function, combination, sizes, out, left, right })
            }
            1 if dims == 0 => {
                let [positions, inputs, outputs] = [(); 3].map(|()| words.next());
                let [out, input, start, addend] = [(); 4].map(|()| View::read(words, 1));
                let weights = words.next();
                let numbers = Numbers::read(words, combination)?;
                Self::Product(Product {
                    function,
                    positions,
                    inputs,
                    outputs,
                    out,
                    input,
                    start,
                    addend,
                    weights,
                    numbers,
                })
            }
            2 if dims == 0 && function == Function::Left => {
                let [ids, table, rows, width] = [(); 4].map(|()| words.next());
                let [out, from] = [(); 2].map(|()| View::read(words, 1));
                Self::Gather(Gather { ids, table, rows, width, out, from, numbers: Numbers::read(words, combination)? })
            }
            3 if dims == 0 && combination == Combination::Store => {
                let mut all = [0; 7];
                words.fill(&mut all);
                let [heads, width, value_width, out, query, key, value] = all;
                Self::Meet(Meet { function, heads, width, value_width, out, query, key, value })
            }
            _ => return None,
        })
    }
}

/// Lengths of the memories, in their order.
struct Lengths([u64; 4]);

impl Lengths {
    fn holds<const N: usize>(&self, view: &View<N>, sizes: &[u32; N], width: u32) -> bool {
        view.end(sizes, width) <= self.0[view.memory as usize]
    }

    /// Whether the result may be written there and needs nothing of a candidate for a request.
    fn flows(&self, out: Memory, from: &[Memory]) -> bool {
        match out {
            Memory::Request => !from.contains(&Memory::Candidates),
            Memory::Candidates => true,
            Memory::Constants | Memory::Features => false,
        }
    }

    /// Whether a product may read there. A kernel may read its inputs again after it has written some outputs, and starts some sums
    /// after others.
    #[inline(never)]
    fn reads(&self, product: &Product, from: &View<1>, width: u32) -> bool {
        let Product { positions, outputs, out, .. } = product;
        let is_before = |left: &View<1>, width, right: &View<1>| left.end(&[*positions], width) <= right.offset.into();
        let is_apart = from.memory != out.memory || is_before(from, width, out) || is_before(out, *outputs, from);
        (from == out || is_apart) && self.holds(from, &[*positions], width)
    }

    fn allow(&self, step: &Step) -> bool {
        match step {
            Step::Each(each) => {
                let views = [&each.out, &each.left, &each.right];
                !each.sizes.contains(&0)
                    && self.flows(each.out.memory, &[each.left.memory, each.right.memory])
                    && views.iter().all(|view| self.holds(view, &each.sizes, 1))
            }
            Step::Product(product) => {
                let Product { positions, inputs, outputs, out, input, start, addend, numbers, .. } = product;
                ![positions, inputs, outputs].contains(&&0)
                    && self.flows(out.memory, &[start.memory])
                    && input.memory == out.memory
                    && start.memory != Memory::Features
                    && input != out
                    && self.holds(out, &[*positions], *outputs)
                    && self.reads(product, input, *inputs)
                    && self.reads(product, start, *outputs)
                    && (addend.memory == Memory::Constants
                        || [addend.memory, out.memory] == [Memory::Candidates; 2]
                            && self.reads(product, addend, *outputs))
                    && !(matches!(numbers, Numbers::Byte { .. }) && *inputs > MAX_BYTE_INPUTS as u32)
            }
            Step::Meet(meet) => {
                let columns = self.0[Memory::Candidates as usize];
                let end = |at: u32, width: u32| u64::from(at) + u64::from(meet.heads) * u64::from(width);
                let last = end(meet.out, meet.value_width);
                let from = [(meet.query, meet.width), (meet.key, meet.width), (meet.value, meet.value_width)];
                ![meet.heads, meet.value_width].contains(&0)
                    && meet.value_width % PANEL as u32 == 0
                    && meet.function < Function::Exp
                    && (meet.width == 0 || meet.function == Function::Left)
                    && columns <= MAX_LIST_COLUMNS as u64
                    && last <= columns
                    // Some candidates have their result before others read.
                    && from.into_iter().all(|(at, width)| {
                        let end = end(at, width);
                        end <= columns && (end <= meet.out.into() || last <= at.into())
                    })
            }
            Step::Gather(gather) => {
                let Gather { ids, rows, width, out, from, .. } = *gather;
                ![ids, rows, width].contains(&0)
                    && self.flows(out.memory, &[from.memory])
                    && self.holds(&out, &[ids], width)
                    && self.holds(&from, &[ids], 1)
            }
        }
    }
}

impl<'a> Graph<'a> {
    /// Validates a program over `features` features.
    ///
    /// # Errors
    /// Too many steps, constants or values, a place outside its memory, a result of the request that needs a candidate, a step of
    /// a list in too many columns (the offset is that of the step); a constant that is NaN, a half that is not finite, a scale that is not above 0 and finite;
    /// narrow weights that are used twice.
    #[inline(never)]
    pub fn parse(bytes: &'a [u8], features: usize) -> Result<Self, DecodeError> {
        let mut words = Words { bytes, at: 0 };
        let mut header = [0; 6];
        for (found, (place, limit)) in header.iter_mut().zip([
            ("graph request memory", MAX_REQUEST),
            ("graph columns", MAX_COLUMNS),
            ("graph score", MAX_COLUMNS),
            ("graph steps", MAX_STEPS),
            ("graph constants", MAX_CONSTANTS),
            ("graph bytes", 4 * MAX_CONSTANTS),
        ]) {
            *found = words.next() as usize;
            if *found > limit {
                return Err(DecodeError::too_large(place, limit as u64, *found as u64));
            }
        }
        let [request, columns, score, count, constants, narrow] = header;
        if score >= columns {
            return Err(DecodeError::invalid("graph score", 8));
        }
        let lengths = Lengths([constants, request, columns, features].map(|length| length as u64));
        let mut steps = Vec::new();
        let mut work = 0_u64;
        for _ in 0..count {
            let at = words.at;
            let step = Step::read(&mut words).filter(|step| lengths.allow(step));
            // What is cut off is said to be so, whatever the words that are not there would have meant.
            let Some(step) = step.filter(|_| words.at <= bytes.len()) else {
                Reader::new(bytes, PLACE).take(words.at)?;
                return Err(DecodeError::invalid("graph step", at));
            };
            work = work.saturating_add(step.work());
            steps.push(step);
        }
        let mut reader = Reader::new(bytes, PLACE);
        reader.take(words.at)?;
        if work > MAX_WORK {
            return Err(DecodeError::too_large("graph work", MAX_WORK, work));
        }
        let constants = F32s::new(reader.array(constants, 4)?);
        let bytes = reader.take(narrow)?;
        reader.finish()?;
        if constants.iter().any(f32::is_nan) {
            return Err(DecodeError::invalid("graph constant that is NaN", 0));
        }
        let graph = Self { request, columns, score, steps, constants, bytes };
        // A reader widens what layers are made of: that may not be more than a few times what is there.
        let widened = graph.steps.iter().map(|step| graph.widened(step).unwrap_or(u64::MAX));
        if widened.fold(0, u64::saturating_add) > narrow as u64 {
            return Err(DecodeError::invalid("graph weights", 0));
        }
        Ok(graph)
    }

    /// The constants, with products of halves made products of `f32`, and the weights of products of bytes in pairs of inputs:
    /// the first as the lower 16 bits. The products say where their weights are now.
    // Once per load, and small: not inlined into what is built for speed.
    #[must_use]
    #[inline(never)]
    pub fn unpack(&mut self) -> (Vec<f32>, Vec<[i32; PANEL]>) {
        let (mut constants, mut pairs) = (self.constants.iter().collect::<Vec<f32>>(), Vec::new());
        for step in &mut self.steps {
            let Step::Product(product) = step else { continue };
            let (at, count) = (product.weights as usize, product.stored() as usize);
            match product.numbers {
                Numbers::Single | Numbers::Request => {}
                Numbers::Half => {
                    product.weights = constants.len() as u32;
                    product.numbers = Numbers::Single;
                    constants.extend(U16s::new(&self.bytes[at..][..2 * count]).iter().map(widen));
                }
                Numbers::Byte { .. } => {
                    product.weights = pairs.len() as u32;
                    let (panels, _) = self.bytes[at..][..count].as_chunks::<{ 2 * PANEL }>();
                    let pair = |panel: &[u8; 2 * PANEL], at: usize| {
                        let [low, high] = [panel[2 * at], panel[2 * at + 1]].map(|byte| i32::from(byte as i8));
                        low & 0xffff | high << 16
                    };
                    pairs.extend(panels.iter().map(|panel| core::array::from_fn(|at| pair(panel, at))));
                }
            }
        }
        (constants, pairs)
    }

    /// How many numbers of a step are widened by a reader; none where its weights or table are not there, or are no numbers to
    /// reckon with.
    fn widened(&self, step: &Step) -> Option<u64> {
        let (numbers, at, count, scales, widened) = match step {
            Step::Each(_) | Step::Meet(_) => return Some(0),
            Step::Product(product) => {
                let count = product.stored();
                (product.numbers, product.weights, count, u64::from(product.outputs) + 1, count)
            }
            Step::Gather(gather) => {
                let count = u64::from(gather.rows) * u64::from(gather.width);
                (gather.numbers, gather.table, count, gather.rows.into(), 0)
            }
        };
        let (at, end) = (u64::from(at), |size: u64| u64::from(at).saturating_add(count.saturating_mul(size)));
        match numbers {
            Numbers::Single => (end(1) <= self.constants.len() as u64).then_some(0),
            Numbers::Request => {
                let is_product = matches!(step, Step::Product(product) if product.out.memory == Memory::Candidates);
                (is_product && end(1) <= self.request as u64).then_some(0)
            }
            Numbers::Half => {
                let halves = self.bytes.get(usize::try_from(at).ok()?..usize::try_from(end(2)).ok()?)?;
                U16s::new(halves).iter().all(|half| half & HALF_INFINITE != HALF_INFINITE).then_some(widened)
            }
            Numbers::Byte { scales: first } => {
                let (first, last) = (u64::from(first), u64::from(first) + scales);
                let is_scale = |scale: f32| scale > 0.0 && scale < f32::INFINITY;
                let are_there = end(1) <= self.bytes.len() as u64 && last <= self.constants.len() as u64;
                (are_there && (first..last).all(|at| is_scale(self.constants.get(at as usize)))).then_some(widened)
            }
        }
    }

    /// The section's bytes. Memories hold as much as is given here; the score is a column.
    #[must_use]
    pub fn encode(request: u32, columns: u32, score: u32, steps: &[Step], constants: &[f32], bytes: &[u8]) -> Vec<u8> {
        let lengths = [steps.len(), constants.len(), bytes.len()].map(|length| length as u32);
        let mut words = Vec::from([request, columns, score]);
        words.extend(lengths);
        steps.iter().for_each(|step| step.write(&mut words));
        words.extend(constants.iter().map(|value| value.to_bits()));
        words.iter().flat_map(|word| word.to_le_bytes()).chain(bytes.iter().copied()).collect()
    }
}

impl Step {
    fn write(&self, words: &mut Vec<u32>) {
        match self {
            Self::Each(each) => {
                let code = [0, each.function as u8, each.combination as u8, MAX_DIMS as u8];
                // Leading dimensions of size 1 say nothing.
                let unused = each.sizes.iter().take_while(|size| **size == 1).count();
                words.push(u32::from_le_bytes([code[0], code[1], code[2], code[3] - unused as u8]));
                words.extend_from_slice(&each.sizes[unused..]);
                for view in [&each.out, &each.left, &each.right] {
                    view.write(unused, words);
                }
            }
            Self::Product(product) => {
                let (numbers, scales) = product.numbers.code();
                words.push(u32::from_le_bytes([1, product.function as u8, numbers, 0]));
                words.extend([product.positions, product.inputs, product.outputs]);
                for view in [&product.out, &product.input, &product.start, &product.addend] {
                    view.write(0, words);
                }
                words.push(product.weights);
                words.extend(scales);
            }
            Self::Gather(gather) => {
                let (numbers, scales) = gather.numbers.code();
                words.push(u32::from_le_bytes([2, 0, numbers, 0]));
                words.extend([gather.ids, gather.table, gather.rows, gather.width]);
                for view in [&gather.out, &gather.from] {
                    view.write(0, words);
                }
                words.extend(scales);
            }
            Self::Meet(Meet { function, heads, width, value_width, out, query, key, value }) => {
                let code = u32::from_le_bytes([3, *function as u8, 0, 0]);
                words.extend([code, *heads, *width, *value_width, *out, *query, *key, *value]);
            }
        }
    }
}

impl<const N: usize> View<N> {
    fn write(&self, unused: usize, words: &mut Vec<u32>) {
        words.push((self.memory as u32) << MEMORY_SHIFT | self.offset);
        words.extend_from_slice(&self.strides[unused..]);
    }
}

/// Weights `[inputs][outputs]`, packed for a [`Product`].
#[must_use]
pub fn pack(weights: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let mut packed = Vec::new();
    for panel in (0..outputs).step_by(PANEL) {
        for input in 0..inputs {
            packed.extend(
                (panel..panel + PANEL).map(
                    |output| {
                        if output < outputs { weights[input * outputs + output] } else { 0.0 }
                    },
                ),
            );
        }
    }
    packed
}

/// The same for weights that are bytes, `[inputs][outputs]`.
#[must_use]
pub fn pack_bytes(weights: &[i8], inputs: usize, outputs: usize) -> Vec<u8> {
    let weight = |input: usize, output: usize| {
        if input < inputs && output < outputs { weights[input * outputs + output] as u8 } else { 0 }
    };
    let mut packed = Vec::new();
    for panel in (0..outputs).step_by(PANEL) {
        for pair in (0..inputs).step_by(2) {
            packed.extend((panel..panel + PANEL).flat_map(|output| [weight(pair, output), weight(pair + 1, output)]));
        }
    }
    packed
}

/// The number that a finite half is.
#[must_use]
#[inline]
pub fn widen(half: u16) -> f32 {
    // Halves have their exponent from another zero: shifted into place, it is 112 too low, also where it is that of denormals.
    const SHIFTED: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * SHIFTED;
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}
