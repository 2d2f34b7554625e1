//! The common name in a certificate's subject.
//!
//! ```text
//! Certificate    SEQUENCE
//!   tbs          SEQUENCE
//!     version    [0], may be missing
//!     serial     INTEGER
//!     algorithm  SEQUENCE
//!     issuer     SEQUENCE
//!     validity   SEQUENCE
//!     subject    SEQUENCE of SETs of SEQUENCEs: an OID, a text
//! ```

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const T61: u8 = 0x14;
const IA5: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut len = usize::from(first);
        if first & 0x80 != 0 {
            let bytes = usize::from(first & 0x7f);
            if bytes == 0 || bytes > 4 || bytes > rest.len() {
                return None;
            }
            let digits;
            (digits, rest) = rest.split_at(bytes);
            len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
        }
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which has to have this tag.
    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// The first common name of a certificate's subject.
pub(super) fn common_name(certificate: &[u8]) -> Option<&[u8]> {
    let mut tbs = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    if tbs.0.first() == Some(&VERSION) {
        tbs.next()?;
    }
    tbs.take(INTEGER)?;
    for _ in 0..3 {
        tbs.take(SEQUENCE)?;
    }
    let mut names = Der(tbs.take(SEQUENCE)?);
    while let Some(set) = names.take(SET) {
        let mut set = Der(set);
        while let Some(attribute) = set.take(SEQUENCE) {
            let mut attribute = Der(attribute);
            if attribute.take(OID)? == COMMON_NAME {
                return match attribute.next()? {
                    (UTF8 | PRINTABLE | T61 | IA5, text) => Some(text),
                    _ => None,
                };
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            len @ 0..0x80 => out.push(len as u8),
            len => out.extend_from_slice(&[0x82, (len >> 8) as u8, len as u8]),
        }
        out.extend_from_slice(content);
        out
    }

    fn attribute(last: u8, text: &[u8]) -> Vec<u8> {
        let inner = [element(OID, &[0x55, 0x04, last]), element(UTF8, text)].concat();
        element(SET, &element(SEQUENCE, &inner))
    }

    fn certificate(version: bool, subject: &[Vec<u8>]) -> Vec<u8> {
        let issuer = element(SEQUENCE, &attribute(3, b"the issuer"));
        let mut tbs = if version { element(VERSION, &element(INTEGER, &[2])) } else { Vec::new() };
        tbs.extend(element(INTEGER, &[1, 2, 3]));
        tbs.extend(element(SEQUENCE, b""));
        tbs.extend(issuer);
        tbs.extend(element(SEQUENCE, b""));
        tbs.extend(element(SEQUENCE, &subject.concat()));
        tbs.extend(element(SEQUENCE, &[0; 300]));
        element(SEQUENCE, &[element(SEQUENCE, &tbs), element(SEQUENCE, b"")].concat())
    }

    #[test]
    fn the_subjects_first_common_name_is_found() {
        let organisation = attribute(10, b"an organisation");
        let names = [organisation.clone(), attribute(3, b"alice"), attribute(3, b"bob")];
        for version in [false, true] {
            assert_eq!(common_name(&certificate(version, &names)), Some(&b"alice"[..]));
            assert_eq!(common_name(&certificate(version, std::slice::from_ref(&organisation))), None);
            let long = vec![b'x'; 1000];
            assert_eq!(common_name(&certificate(version, &[attribute(3, &long)])), Some(&long[..]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(bytes: Vec<u8>, cut in 0usize..500, at in 0usize..500, byte: u8) {
            let _ = common_name(&bytes);
            let mut whole = certificate(true, &[attribute(3, b"alice")]);
            let at = at % whole.len();
            whole[at] = byte;
            let _ = common_name(&whole[..cut.min(whole.len())]);
        }
    }
}
