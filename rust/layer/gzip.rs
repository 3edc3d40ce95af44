//! A gzip stream: members one after another, then perhaps padding (RFC 1952, section 2.2).
use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::input::Input;

/// Decodes all members of an input, checking each one's checksum.
pub(super) struct Members<'fd> {
    /// None only while one member is exchanged for the next.
    member: Option<GzDecoder<Input<'fd>>>,
}

impl<'fd> Members<'fd> {
    pub(super) fn new(input: Input<'fd>) -> Self {
        Self { member: Some(GzDecoder::new(input)) }
    }

    /// The stored bytes.
    pub(super) fn input(&mut self) -> &mut Input<'fd> {
        self.member.as_mut().expect("a member is there between reads").get_mut()
    }

    /// Behind a member: the end, another member, or padding. Anything else is damage, as for docker.
    fn next_member(&mut self) -> io::Result<bool> {
        match self.input().fill_buf()?.first() {
            None => return Ok(false),
            Some(0) => return self.input().skip_padding().map(|()| false),
            Some(_) => {}
        }
        self.member = self.member.take().map(|ended| GzDecoder::new(ended.into_inner()));
        Ok(true)
    }
}

impl Read for Members<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.member.as_mut().map_or(Ok(0), |member| member.read(into))?;
            if count > 0 || !self.next_member()? {
                return Ok(count);
            }
        }
    }
}
