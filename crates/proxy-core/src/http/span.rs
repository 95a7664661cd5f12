//! A part of a message head, by place.

/// A range of the head's bytes. 32 bits: a head is bounded far below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// First byte.
    pub(crate) start: u32,
    /// One past the last byte.
    pub(crate) end: u32,
}

impl Span {
    /// The range of `part` within `whole`. An empty part lies at 0: parsers give those no place.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Self {
        if part.is_empty() {
            return Self::default();
        }
        let start = part.as_ptr() as usize - whole.as_ptr() as usize;
        assert!(start + part.len() <= whole.len(), "part lies outside the head");
        Self { start: start as u32, end: (start + part.len()) as u32 }
    }

    /// The bytes of this range.
    pub(crate) fn within(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}
