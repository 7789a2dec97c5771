//! An unwind rule: how to get from a frame to its caller by call frame information.

/// An unwind rule packed into a word, which is never 0, so that 0 marks an empty slot of the rule
/// table.
///
/// The canonical frame address (CFA) is the stack pointer of the caller just before the call. The
/// return address lies one word below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule(u64);

const OFFSET_BITS: u32 = 28;
const VALID: u64 = 1 << 63;
const END_OF_STACK: u64 = 1 << 62;
const CFA_FROM_BP: u64 = 1 << 61;
const BP_IS_SAVED: u64 = 1 << 60;

impl Rule {
    /// The walk ends here: no caller can be found.
    pub(super) const END: Self = Self(VALID | END_OF_STACK);

    /// A rule with the CFA `cfa` bytes from `rbp` or else from the stack pointer, and the caller's
    /// `rbp` saved `saved_bp` bytes from the CFA, if it is not still in the register. `None` if an
    /// offset does not fit: then the walk ends.
    pub(super) fn new(from_bp: bool, cfa: i32, saved_bp: Option<i32>) -> Option<Self> {
        let field = |offset: i32| u64::from(offset as u32) & ((1 << OFFSET_BITS) - 1);
        let fits = |offset: i32| offset.unsigned_abs() < 1 << (OFFSET_BITS - 1);
        (fits(cfa) && fits(saved_bp.unwrap_or(0))).then(|| {
            let bp = if from_bp { CFA_FROM_BP } else { 0 };
            let saved = saved_bp.map_or(0, |o| BP_IS_SAVED | field(o) << OFFSET_BITS);
            Self(VALID | bp | saved | field(cfa))
        })
    }

    /// Whether the CFA is relative to `rbp`, not to the stack pointer.
    pub(super) fn is_from_bp(self) -> bool {
        self.0 & CFA_FROM_BP != 0
    }

    /// Bytes from that register to the CFA.
    pub(super) fn cfa(self) -> isize {
        self.offset(0)
    }

    /// Bytes from the CFA to the caller's saved `rbp`; `None` if it is still in the register.
    pub(super) fn saved_bp(self) -> Option<isize> {
        (self.0 & BP_IS_SAVED != 0).then(|| self.offset(OFFSET_BITS))
    }

    fn offset(self, shift: u32) -> isize {
        // Shifted to the top and back, which extends the sign.
        let unused = 32 - OFFSET_BITS;
        ((((self.0 >> shift) as u32) << unused).cast_signed() >> unused) as isize
    }

    /// The word of a rule, or of [`Rule::END`] for `None`.
    pub(super) fn to_word(rule: Option<Self>) -> u64 {
        rule.unwrap_or(Self::END).0
    }

    /// The rule of a word from [`Rule::to_word`]; `None` for that of [`Rule::END`].
    pub(super) fn from_word(word: u64) -> Option<Self> {
        (word & END_OF_STACK == 0).then_some(Self(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_survives_packing() {
        for from_bp in [false, true] {
            for cfa in [8, 16, -8, 1 << 20, -(1 << 20)] {
                for saved_bp in [None, Some(-16), Some(-(1 << 20)), Some(0)] {
                    let rule = Rule::new(from_bp, cfa, saved_bp).unwrap();
                    assert_eq!(rule.is_from_bp(), from_bp);
                    assert_eq!(rule.cfa(), cfa as isize);
                    assert_eq!(rule.saved_bp(), saved_bp.map(|o| o as isize));
                    assert_ne!(Rule::to_word(Some(rule)), 0);
                    assert_eq!(Rule::from_word(Rule::to_word(Some(rule))), Some(rule));
                }
            }
        }
        assert_eq!(Rule::from_word(Rule::to_word(None)), None);
        assert_eq!(
            Rule::new(false, i32::MAX, None),
            None,
            "an offset that does not fit ends the walk"
        );
    }
}
