//! A zstd stream: frames one after another, skippable ones between them (RFC 8878, sections 3.1.1 and 3.1.2).
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::input::Input;
use super::limits;

/// Decodes all frames of an input, checking each one's checksum.
pub(super) struct Frames<'fd> {
    input: Input<'fd>,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<'fd> Frames<'fd> {
    pub(super) fn new(input: Input<'fd>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(limits::WINDOW);
        Self { input, decoder, in_frame: false }
    }

    pub(super) fn input(&mut self) -> &mut Input<'fd> {
        &mut self.input
    }

    /// Begin the next frame; false at the end of the input.
    fn next_frame(&mut self) -> io::Result<bool> {
        loop {
            // Zeros behind the last frame are padding, as behind a gzip member.
            match self.input.fill_buf()?.first() {
                None => return Ok(false),
                Some(0) => return self.input.skip_padding().map(|()| false),
                Some(_) => {}
            }
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.input).take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
    }

    fn decode_block(&mut self) -> io::Result<()> {
        // The decoder reports damage as errors; should one input reach a panic of it, that is damage as well.
        let (decoder, input) = (&mut self.decoder, &mut self.input);
        let outcome =
            catch_unwind(AssertUnwindSafe(|| decoder.decode_blocks(input, BlockDecodingStrategy::UptoBlocks(1))));
        match outcome {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(io::Error::other(error.to_string())),
            Err(_) => Err(io::Error::other("the decoder gave up")),
        }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        match self.decoder.get_checksum_from_data() {
            Some(stored) if self.decoder.get_calculated_checksum() != Some(stored) => {
                Err(io::Error::other("a frame's checksum is wrong"))
            }
            _ => Ok(()),
        }
    }
}

impl Read for Frames<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decode_block()?;
            }
            let count = self.decoder.read(into)?;
            if count > 0 {
                return Ok(count);
            }
            self.end_frame()?;
        }
    }
}
