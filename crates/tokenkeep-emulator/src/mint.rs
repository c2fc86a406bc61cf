//! What tokens are made of: chance, or a seed.

use aws_lc_rs::digest;

/// Makes texts that are all different.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mint {
    seed: Option<u64>,
    /// How many a seed has given.
    count: u64,
}

impl Mint {
    /// Without a seed nobody guesses what it makes. With one, everybody can, and it is the same
    /// each time.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { seed, count: 0 }
    }

    /// One that begins where this one began.
    pub(crate) fn restarted(&self) -> Self {
        Self::new(self.seed)
    }

    /// A token in the shape of Zoho's.
    pub(crate) fn token(&mut self) -> String {
        let bytes = self.bytes();
        format!("1000.{}.{}", hex(&bytes[..16]), hex(&bytes[16..]))
    }

    /// 32 hexadecimal digits.
    pub(crate) fn hex(&mut self) -> String {
        hex(&self.bytes()[..16])
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        match self.seed {
            None => {
                getrandom::fill(&mut bytes).expect("the operating system has a random source");
            }
            Some(seed) => {
                self.count += 1;
                let input = [seed.to_le_bytes(), self.count.to_le_bytes()].concat();
                bytes.copy_from_slice(digest::digest(&digest::SHA256, &input).as_ref());
            }
        }
        bytes
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(mut mint: Mint) -> [String; 3] {
        [mint.token(), mint.hex(), mint.token()]
    }

    #[test]
    fn a_seed_decides_what_is_made_and_nothing_else_does() {
        let one = three(Mint::new(Some(1)));
        assert_eq!(one, three(Mint::new(Some(1))));
        assert_ne!(one, three(Mint::new(Some(2))));
        assert_ne!(one[0], one[2]);
        let mut used = Mint::new(Some(1));
        used.token();
        assert_ne!(three(used.clone()), one);
        assert_eq!(three(used.restarted()), one);
        assert_ne!(three(Mint::new(None)), three(Mint::new(None)));
    }

    #[test]
    fn a_token_has_the_shape_of_zohos() {
        for mut mint in [Mint::new(None), Mint::new(Some(7))] {
            let token = mint.token();
            let parts: Vec<_> = token.split('.').map(str::len).collect();
            assert_eq!(parts, [4, 32, 32], "{token}");
            assert_eq!(mint.hex().len(), 32);
        }
    }
}
