//! Server-sent events, as far as heads need them: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::io::{BufRead, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest line: a head in base64, and some more.
const MAX_LINE: u64 = 16_384;

/// A line of the stream that says something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A head.
    Head(Vec<u8>),
    /// That the stream lives.
    Alive,
}

/// Reads a stream line by line, until it ends or says what no host says.
pub(super) struct Stream<R>(BufReader<R>);

impl<R: Read> Stream<R> {
    pub(super) fn new(reader: R) -> Self {
        Self(BufReader::new(reader))
    }
}

impl<R: Read> Iterator for Stream<R> {
    type Item = Said;

    fn next(&mut self) -> Option<Said> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        if read == 0 || !line.ends_with(b"\n") {
            return None;
        }
        let line = line.trim_ascii();
        let Some(data) = line.strip_prefix(b"data:") else { return Some(Said::Alive) };
        STANDARD.decode(data.trim_ascii()).ok().map(Said::Head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_out_and_the_rest_is_a_sign_of_life() {
        let text = b": hello\n\nevent: head\nid: 3\ndata: aGVhZA==\n\n";
        let said: Vec<Said> = Stream::new(&text[..]).collect();
        assert_eq!(said.iter().filter(|said| **said == Said::Alive).count(), 5);
        assert_eq!(said[4], Said::Head(b"head".to_vec()));
    }

    #[test]
    fn what_no_host_says_ends_the_stream() {
        let long = vec![b'x'; 20_000];
        for text in [&b"data: ?\n"[..], b"data: aGVhZA==", &long] {
            assert_eq!(Stream::new(text).next(), None);
        }
    }
}
