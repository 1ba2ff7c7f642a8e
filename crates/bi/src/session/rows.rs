//! Rows handed out to the client: as messages, as lines of a copy, or left out.

use super::copy::CopyForm;
use super::portal::Source;
use super::run::Run;
use crate::error::PgError;
use crate::types::RowEncoder;
use crate::wire::{Format, Wire};
use bytes::BytesMut;

/// Bytes that are sent at once.
const SEND_BYTES: usize = 64 << 10;

/// How rows are handed out.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    /// As messages, after their columns where those were not asked for before.
    Rows {
        are_described: bool,
    },
    Copy(&'a CopyForm),
    Skipped,
}

/// Hands out at most `most` rows (0: all). Tells how many, and whether there may be more.
///
/// # Errors
/// What goes wrong while rows are made or sent, and values that the client's type cannot hold.
pub(super) async fn hand_out(
    source: &mut Source,
    (formats, shape): (&[Format], Shape<'_>),
    most: u64,
    run: &mut Run,
    wire: &mut Wire,
) -> Result<(u64, bool), PgError> {
    let columns = source.columns();
    let formats = Format::spread(formats, columns.len())?;
    match shape {
        Shape::Rows { are_described: false } => wire.out.columns(&columns, &formats),
        Shape::Copy(form) => {
            wire.out.copy_begins(columns.len());
            if form.has_header {
                wire.out.copy_line(&form.header(columns.iter().map(|column| column.name.as_str())));
            }
        }
        Shape::Rows { are_described: true } | Shape::Skipped => {}
    }
    let encoder = RowEncoder::new(source.schema(), formats);
    let mut values = BytesMut::new();
    let mut sent = 0;
    while most == 0 || sent < most {
        let wanted = if most == 0 { u64::MAX } else { most - sent };
        let Some((batch, first, count)) = source.next(wanted, run, wire).await? else {
            return Ok((sent, false));
        };
        encoder.check(&batch)?;
        for row in first..first + count {
            match shape {
                Shape::Rows { .. } => {
                    wire.out.row(columns.len(), |out| encoder.row(&batch, row, out))?;
                }
                Shape::Copy(form) => {
                    values.clear();
                    encoder.row(&batch, row, &mut values)?;
                    wire.out.copy_line(&form.line(&mut values));
                }
                Shape::Skipped => {}
            }
            if wire.out.len() >= SEND_BYTES {
                run.send(wire).await?;
            }
        }
        sent += count as u64;
        run.rows += count as u64;
    }
    Ok((sent, true))
}
