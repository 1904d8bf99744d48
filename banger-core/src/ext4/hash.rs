//! Hashes of names for directory indexes: half MD4 over signed characters, as
//! on x86 (kernel, `directory.rst`, "Hash Tree Directories").

/// Set in the superblock: characters are signed.
pub(super) const SIGNED_HASH: u32 = 1;
/// Half MD4 in superblock and index roots.
pub(super) const HALF_MD4: u8 = 1;

/// What the hash starts from when the seed is all zero (RFC 1320, 3.3).
const MD4_START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// MD4's constants of rounds 2 and 3 (RFC 1320, 3.4).
const ROUND_2: u32 = 0x5a82_7999;
const ROUND_3: u32 = 0x6ed9_eba1;

/// Marks the end of a directory for readers; no name may have it.
const END: u32 = 0xffff_fffe;

/// Bytes hashed at once.
const STEP: usize = 32;

/// Where a hash starts, from the file system's seed.
pub(super) fn start(seed: &[u8; 16]) -> [u32; 4] {
    if seed.iter().all(|byte| *byte == 0) {
        return MD4_START;
    }
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(seed.chunks_exact(4)) {
        *word = bytes.first_chunk().copied().map_or(0, u32::from_le_bytes);
    }
    words
}

/// The hash of a name; its lowest bit is always clear.
pub(super) fn name_hash(start: [u32; 4], name: &[u8]) -> u32 {
    let mut state = start;
    let mut left = name;
    while !left.is_empty() {
        mix(&mut state, &words(left));
        left = left.get(STEP..).unwrap_or_default();
    }
    match state[1] & !1 {
        END => END - 2,
        hash => hash,
    }
}

/// The next eight words: characters, then what is left of the length.
fn words(left: &[u8]) -> [u32; 8] {
    let length = u32::try_from(left.len()).unwrap_or(u32::MAX);
    let pad = (length | length << 8) & 0xffff;
    let pad = pad | pad << 16;
    let mut words = [pad; 8];
    for (word, characters) in words.iter_mut().zip(left.chunks(4)) {
        for character in characters {
            let signed = i32::from(character.cast_signed()).cast_unsigned();
            *word = signed.wrapping_add(*word << 8);
        }
    }
    words
}

/// One round of half MD4: `function` and `constant` of the round, the order of
/// the words, and the shifts.
struct Round {
    function: fn(u32, u32, u32) -> u32,
    constant: u32,
    order: [usize; 8],
    shifts: [u32; 4],
}

const ROUNDS: [Round; 3] = [
    Round {
        function: |x, y, z| z ^ (x & (y ^ z)),
        constant: 0,
        order: [0, 1, 2, 3, 4, 5, 6, 7],
        shifts: [3, 7, 11, 19],
    },
    Round {
        function: |x, y, z| (x & y).wrapping_add((x ^ y) & z),
        constant: ROUND_2,
        order: [1, 3, 5, 7, 0, 2, 4, 6],
        shifts: [3, 5, 9, 13],
    },
    Round {
        function: |x, y, z| x ^ y ^ z,
        constant: ROUND_3,
        order: [3, 7, 2, 6, 1, 5, 0, 4],
        shifts: [3, 9, 11, 15],
    },
];

fn mix(state: &mut [u32; 4], words: &[u32; 8]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for round in &ROUNDS {
        for (step, word) in round.order.iter().enumerate() {
            let mixed = a
                .wrapping_add((round.function)(b, c, d))
                .wrapping_add(words[*word])
                .wrapping_add(round.constant)
                .rotate_left(round.shifts[step % 4]);
            (a, b, c, d) = (d, mixed, b, c);
        }
    }
    for (word, mixed) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(mixed);
    }
}
