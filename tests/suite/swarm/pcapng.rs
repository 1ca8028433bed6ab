//! A reader of captures for the oracle, from the format's description alone
//! (draft-ietf-opsawg-pcapng); it shares nothing with the writer under test.

/// One packet at one tap.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Its time in nanoseconds.
    pub(super) at: u64,
    /// The position of the interface.
    pub(super) interface: usize,
    /// What follows it from tap to tap.
    pub(super) id: u64,
    /// Its bytes, from the IP header on.
    pub(super) bytes: Vec<u8>,
    /// The comment; empty if there is none.
    pub(super) comment: String,
}

/// A whole file.
#[derive(Debug, Clone, Default)]
pub(super) struct CaptureFile {
    /// The names of the interfaces.
    pub(super) interfaces: Vec<String>,
    /// The packets in the order of the file.
    pub(super) frames: Vec<Frame>,
}

/// Reads a little-endian file of one section with nanosecond times.
///
/// # Errors
/// What is wrong with the file, and at which byte.
pub(super) fn read(bytes: &[u8]) -> Result<CaptureFile, String> {
    let mut file = CaptureFile::default();
    let mut at = 0;
    while at < bytes.len() {
        let length = u32_at(bytes, at + 4)? as usize;
        let end = at.checked_add(length).filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| format!("the block at byte {at} is cut"))?;
        if length < 12 || !length.is_multiple_of(4) || u32_at(bytes, end - 4)? as usize != length {
            return Err(format!("the block at byte {at} has no consistent length"));
        }
        let body = &bytes[at + 8..end - 4];
        match (u32_at(bytes, at)?, at) {
            (0x0A0D_0D0A, 0) if u32_at(body, 0)? == 0x1A2B_3C4D => {}
            (1, 1..) => file.interfaces.push(interface(body)?),
            (6, 1..) => file.frames.push(frame(body, file.interfaces.len())?),
            (kind, _) => return Err(format!("unexpected block {kind:#x} at byte {at}")),
        }
        at = end;
    }
    Ok(file)
}

fn interface(body: &[u8]) -> Result<String, String> {
    if u16_at(body, 0)? != 101 {
        return Err("an interface that is not raw IP".to_owned());
    }
    let mut name = None;
    let mut nanoseconds = false;
    options(&body[8..], |code, value| match code {
        2 => name = Some(String::from_utf8_lossy(value).into_owned()),
        9 => nanoseconds = value == [9],
        _ => {}
    })?;
    if !nanoseconds {
        return Err("an interface without nanoseconds".to_owned());
    }
    name.ok_or_else(|| "an interface without a name".to_owned())
}

fn frame(body: &[u8], interfaces: usize) -> Result<Frame, String> {
    let interface = u32_at(body, 0)? as usize;
    if interface >= interfaces {
        return Err(format!(
            "a packet of interface {interface}, which is not there"
        ));
    }
    let (captured, original) = (u32_at(body, 12)? as usize, u32_at(body, 16)? as usize);
    if captured != original {
        return Err(format!("{captured} of {original} bytes were kept"));
    }
    let bytes = body.get(20..20 + captured).ok_or("a packet is cut")?;
    let mut frame = Frame {
        at: u64::from(u32_at(body, 4)?) << 32 | u64::from(u32_at(body, 8)?),
        interface,
        id: 0,
        bytes: bytes.to_vec(),
        comment: String::new(),
    };
    let mut id = None;
    options(
        &body[20 + captured.next_multiple_of(4)..],
        |code, value| match code {
            1 => frame.comment = String::from_utf8_lossy(value).into_owned(),
            5 => id = value.try_into().ok().map(u64::from_le_bytes),
            _ => {}
        },
    )?;
    frame.id = id.ok_or("a packet without an id")?;
    Ok(frame)
}

fn options(mut rest: &[u8], mut take: impl FnMut(u16, &[u8])) -> Result<(), String> {
    while !rest.is_empty() {
        let (code, length) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
        if code == 0 {
            return Ok(());
        }
        take(code, rest.get(4..4 + length).ok_or("an option is cut")?);
        rest = rest
            .get(4 + length.next_multiple_of(4)..)
            .ok_or("an option is cut")?;
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, String> {
    let field = bytes
        .get(at..at + 2)
        .and_then(|field| field.try_into().ok());
    field
        .map(u16::from_le_bytes)
        .ok_or_else(|| format!("nothing at byte {at}"))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    let field = bytes
        .get(at..at + 4)
        .and_then(|field| field.try_into().ok());
    field
        .map(u32::from_le_bytes)
        .ok_or_else(|| format!("nothing at byte {at}"))
}
