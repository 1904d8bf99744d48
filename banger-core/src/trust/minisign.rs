//! minisign's signatures of files (jedisct1/minisign: Ed25519 over the file's
//! BLAKE2b hash; the older form without the hash is refused).

use std::{fmt, io::Read};

use minisign_verify::{PublicKey, Signature};

use super::KeyParseError;

const BUFFER: usize = 1 << 20;

/// A public key that signs files.
#[derive(Clone, PartialEq, Eq)]
pub struct MinisignKey {
    key: PublicKey,
    text: String,
}

impl fmt::Debug for MinisignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MinisignKey").field(&self.text).finish()
    }
}

impl MinisignKey {
    /// Reads a key: its one line (`RW…`), or a `.pub` file's two.
    pub fn parse(text: &str) -> Result<Self, KeyParseError> {
        let mut lines = text.lines().map(str::trim);
        let line = lines.rfind(|line| !line.is_empty()).unwrap_or_default();
        let key = PublicKey::from_base64(line).map_err(|error| KeyParseError {
            scheme: "minisign",
            problem: error.to_string(),
        })?;
        Ok(Self {
            key,
            text: line.to_owned(),
        })
    }

    /// The key as one line, which also names it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `signature`, the text of a `.minisig` file, is of all of
    /// `content` and by this key; otherwise a text that says why not.
    pub fn verify(&self, mut content: impl Read, signature: &str) -> Result<(), String> {
        let signature = Signature::decode(signature)
            .map_err(|error| format!("its minisign signature is malformed: {error}"))?;
        let wrong = |error| format!("its minisign signature does not hold: {error}");
        let mut verifier = self.key.verify_stream(&signature).map_err(wrong)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return verifier.finalize().map_err(wrong),
                Ok(read) => verifier.update(&buffer[..read]),
                Err(error) => return Err(format!("it cannot be read: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // made by minisign 0.11 itself, of the five bytes "hello"
    const KEY_FILE: &str = "untrusted comment: minisign public key 538280C98D22AF89\n\
        RWSJryKNyYCCU6Xcy66GJvvSKVdkoeBBiz3xxoU4gYtiKAcZGm/clkZK\n";
    const OTHER_KEY: &str = "RWSnhcBK/yXHYIf/JMF/huQyhEdtsd60g6KA35yRV8K4s0BTRokjF8vK\n";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RUSJryKNyYCCUy0Xw1yuedKLbZZhnzS2b9MWy04FjRJDZpeodtdx4LCl12uXyPogCbX35KIm0nzThDqo8lY4KgVXpaIyIHAPqwo=\n\
        trusted comment: timestamp:1795609335\tfile:hello\thashed\n\
        IiPshZRucFYsIpagYjYLv5X7J95E4njPNa+v5qt3EWnBikH9/7kEWy22u+eW6J5YtB14Uv2q1Znrvb4p2mtgAg==\n";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWSJryKNyYCCU/SKtyoYlHKRZBztByxYT2RshafdtHLmXYwPGm7sjnrG0dx5r2Mctjo3ziZ8Bs1rjfZirT/HbQyK5wNNnFYTTg0=\n\
        trusted comment: timestamp:1795609335\tfile:hello\n\
        favx9NfPEXSDxQL/wpJtX1k1MleXCyRWlDy0dAjMgvhDC3QD8+nq/6EwqX2yieW6wggjXZOQK+iaACDkwh7tBQ==\n";

    #[test]
    fn what_minisign_signed_holds_and_nothing_else() {
        let key = MinisignKey::parse(KEY_FILE).unwrap();
        assert_eq!(MinisignKey::parse(key.text()), Ok(key.clone()));
        key.verify(&b"hello"[..], SIGNATURE).unwrap();
        assert!(key.verify(&b"hellp"[..], SIGNATURE).is_err());
        let other = MinisignKey::parse(OTHER_KEY).unwrap();
        assert!(other.verify(&b"hello"[..], SIGNATURE).is_err());
        let comment = SIGNATURE.replace("file:", "file: ");
        assert!(key.verify(&b"hello"[..], &comment).is_err());
        let legacy = key.verify(&b"hello"[..], LEGACY).unwrap_err();
        assert!(legacy.contains("does not hold"), "{legacy}");
        for text in ["", "RW", "not a key\nat all"] {
            assert!(MinisignKey::parse(text).is_err(), "{text:?}");
            assert!(key.verify(&b"hello"[..], text).is_err(), "{text:?}");
        }
    }
}
