//! A zstd stream: frames one after another, skippable ones between them (RFC 8878, sections 3.1.1 and 3.1.2).
//!
//! Two decoders in Rust: `zrip-decode` takes less than half of ruzstd's time (748 to 332 MB/s; C: 1235) but keeps up to
//! two windows in memory, so wide ones are ruzstd's. No C library: this is fast enough, docs/layers.md has the figures.
use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder as WideDecoder};
use zrip_decode::streaming::FrameDecoder as NarrowDecoder;

use super::frame::Frame;
use super::input::Input;
use super::limits;

/// The bytes of the current frame, for whichever decoder has them.
#[derive(Clone)]
struct Shared<'fd>(Rc<RefCell<Frame<'fd>>>);

impl Read for Shared<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(into)
    }
}

enum Current {
    Between,
    Narrow,
    Wide,
}

/// Decodes all frames of an input, checking each one's checksum.
pub(super) struct Frames<'fd> {
    frame: Shared<'fd>,
    narrow: NarrowDecoder<Shared<'fd>>,
    wide: WideDecoder,
    current: Current,
}

impl<'fd> Frames<'fd> {
    pub(super) fn new(input: Input<'fd>) -> Self {
        let frame = Shared(Rc::new(RefCell::new(Frame::new(input))));
        let mut wide = WideDecoder::new();
        wide.set_max_window_size(limits::WINDOW);
        Self { narrow: NarrowDecoder::new(frame.clone()), frame, wide, current: Current::Between }
    }

    /// Ask the stored bytes something.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Input<'fd>) -> T) -> T {
        question(&self.frame.0.borrow().input)
    }

    /// Begin the next frame; false at the end of the input.
    fn next_frame(&mut self) -> io::Result<bool> {
        let window = {
            let mut frame = self.frame.0.borrow_mut();
            // Zeros behind the last frame are padding, as behind a gzip member.
            match frame.input.fill_buf()?.first() {
                None => return Ok(false),
                Some(0) => return frame.input.skip_padding().map(|()| false),
                Some(_) => frame.begin()?,
            }
        };
        match window {
            // A skippable frame.
            None => {}
            Some(window) if window > limits::WINDOW => {
                return Err(io::Error::other(format!(
                    "a window of {window} bytes: the limit is {}: compress it without --long",
                    limits::WINDOW
                )));
            }
            Some(window) if window > limits::NARROW => {
                let (wide, frame) = (&mut self.wide, &mut self.frame);
                guarded(|| wide.reset(frame).map_err(|error| io::Error::other(error.to_string())))?;
                self.current = Current::Wide;
            }
            Some(_) => {
                self.narrow.reset(self.frame.clone());
                self.current = Current::Narrow;
            }
        }
        Ok(true)
    }

    fn read_wide(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (wide, frame) = (&mut self.wide, &mut self.frame);
        guarded(|| {
            while wide.can_collect() == 0 && !wide.is_finished() {
                let decoded = wide.decode_blocks(&mut *frame, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(|error| io::Error::other(error.to_string()))?;
            }
            let count = wide.read(into)?;
            if count == 0 {
                match wide.get_checksum_from_data() {
                    Some(stored) if wide.get_calculated_checksum() != Some(stored) => {
                        return Err(io::Error::other("a frame's checksum is wrong"));
                    }
                    _ => {}
                }
            }
            Ok(count)
        })
    }
}

/// Decoders report damage as errors; should one input reach a panic of theirs, that is damage as well.
fn guarded<T>(decode: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(io::Error::other("the decoder gave up")))
}

impl Read for Frames<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = match self.current {
                Current::Between => {
                    if !self.next_frame()? {
                        return Ok(0);
                    }
                    continue;
                }
                Current::Narrow => {
                    let narrow = &mut self.narrow;
                    guarded(|| narrow.read(into))?
                }
                Current::Wide => self.read_wide(into)?,
            };
            if count > 0 {
                return Ok(count);
            }
            self.frame.0.borrow_mut().end()?;
            self.current = Current::Between;
        }
    }
}
