//! What a table must obey beyond its schema: by the format that the schema gives it.

use crate::model::Arrival;
use crate::rows::FileKind;
use crate::tree::Tree;
use crate::tree_serde::Mismatch;
use crate::units::{ByteSize, Law, Nonsense, Quantity, RateCurve, TimeSpan};
use serde::Deserialize;

/// Finds what makes no sense about a table of this format.
pub(crate) fn nonsense(format: &str, tree: &Tree) -> Result<Option<Nonsense>, Mismatch> {
    Ok(match format {
        TimeSpan::LAW => Law::<TimeSpan>::deserialize(tree)?.nonsense(),
        ByteSize::LAW => Law::<ByteSize>::deserialize(tree)?.nonsense(),
        "rate-curve" => RateCurve::deserialize(tree)?.nonsense(),
        "arrival" => Arrival::deserialize(tree)?.nonsense(),
        _ => None,
    })
}

/// Returns what stands in the file that the key `file` of a table of this format names.
pub(crate) fn file_kind(format: &str) -> Option<FileKind> {
    match format {
        TimeSpan::LAW => Some(TimeSpan::FILE),
        ByteSize::LAW => Some(ByteSize::FILE),
        "arrival" => Some(FileKind::Starts),
        _ => None,
    }
}
