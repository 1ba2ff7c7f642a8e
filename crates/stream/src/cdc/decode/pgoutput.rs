//! Messages of the `pgoutput` plugin, protocol versions 1 and 2, in text format.
//!
//! Source: PostgreSQL documentation, "Logical Replication Message Formats". Nothing here knows of
//! transactions or types; any bytes give a message or an error, never a panic.

/// The bytes are not a pgoutput message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed pgoutput message {tag:?}: {what}")]
pub struct Malformed {
    pub tag: char,
    pub what: &'static str,
}

/// One field of a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    Null,
    /// A TOASTed value that did not change and was not sent.
    Unchanged,
    Text(&'a [u8]),
}

/// The fields of a row in the order of its relation.
pub type Tuple<'a> = Vec<Field<'a>>;

/// What the source sent of the old row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old<'a> {
    /// Only the columns of the replica identity; the others are null.
    Key(Tuple<'a>),
    /// The whole row (REPLICA IDENTITY FULL).
    Full(Tuple<'a>),
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity.
    pub identity: bool,
    pub name: String,
    pub type_oid: u32,
    pub type_modifier: i32,
}

/// The shape of a table from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `pg_class.relreplident`: `d`, `n`, `f` or `i`.
    pub replica_identity: u8,
    pub columns: Vec<RelationColumn>,
}

/// A message. LSNs are byte addresses, times microseconds since 2000-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    Begin {
        commit_lsn: u64,
        commit_time: i64,
        xid: u32,
    },
    Commit {
        commit_lsn: u64,
        end_lsn: u64,
        commit_time: i64,
    },
    Relation(Relation),
    Insert {
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        relation: u32,
        old: Option<Old<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: u32,
        old: Old<'a>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// `pg_logical_emit_message`.
    Logical {
        transactional: bool,
        prefix: &'a str,
    },
    /// Types and origins: nothing to do.
    Other,
    StreamStart {
        xid: u32,
        first: bool,
    },
    StreamStop,
    StreamCommit {
        xid: u32,
        commit_lsn: u64,
        end_lsn: u64,
        commit_time: i64,
    },
    /// The (sub)transaction `subxid` of `xid` was rolled back.
    StreamAbort {
        xid: u32,
        subxid: u32,
    },
}

/// Decodes one message. Between `StreamStart` and `StreamStop` (`streamed`) most messages begin
/// with the id of their (sub)transaction, which is returned too.
///
/// # Errors
/// [`Malformed`].
pub fn decode(data: &[u8], streamed: bool) -> Result<(Option<u32>, Message<'_>), Malformed> {
    let mut reader = Reader { data, tag: '?' };
    let tag = reader.u8()?;
    reader.tag = char::from(tag);
    let xid = match tag {
        b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M' if streamed => Some(reader.u32()?),
        _ => None,
    };
    let message = match tag {
        b'B' => Message::Begin { commit_lsn: reader.u64()?, commit_time: reader.i64()?, xid: reader.u32()? },
        b'C' => {
            reader.u8()?;
            Message::Commit { commit_lsn: reader.u64()?, end_lsn: reader.u64()?, commit_time: reader.i64()? }
        }
        b'R' => Message::Relation(reader.relation()?),
        b'I' => {
            let relation = reader.u32()?;
            reader.expect(b'N')?;
            Message::Insert { relation, new: reader.tuple()? }
        }
        b'U' => {
            let relation = reader.u32()?;
            let old = match reader.u8()? {
                b'N' => None,
                kind => {
                    let old = reader.old(kind)?;
                    reader.expect(b'N')?;
                    Some(old)
                }
            };
            Message::Update { relation, old, new: reader.tuple()? }
        }
        b'D' => {
            let relation = reader.u32()?;
            let kind = reader.u8()?;
            Message::Delete { relation, old: reader.old(kind)? }
        }
        b'T' => {
            let count = reader.u32()? as usize;
            reader.u8()?;
            if count > reader.data.len() / 4 {
                return Err(reader.malformed("more relations than bytes"));
            }
            let relations: Result<_, _> = (0..count).map(|_| reader.u32()).collect();
            Message::Truncate { relations: relations? }
        }
        b'M' => {
            let transactional = reader.u8()? & 1 == 1;
            reader.u64()?;
            Message::Logical { transactional, prefix: reader.text()? }
        }
        b'Y' | b'O' => Message::Other,
        b'S' => Message::StreamStart { xid: reader.u32()?, first: reader.u8()? == 1 },
        b'E' => Message::StreamStop,
        b'c' => {
            let xid = reader.u32()?;
            reader.u8()?;
            let (commit_lsn, end_lsn, commit_time) = (reader.u64()?, reader.u64()?, reader.i64()?);
            Message::StreamCommit { xid, commit_lsn, end_lsn, commit_time }
        }
        b'A' => Message::StreamAbort { xid: reader.u32()?, subxid: reader.u32()? },
        _ => return Err(reader.malformed("unknown message")),
    };
    Ok((xid, message))
}

struct Reader<'a> {
    data: &'a [u8],
    tag: char,
}

impl<'a> Reader<'a> {
    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { tag: self.tag, what }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.data.split_at_checked(length).ok_or_else(|| self.malformed("cut short"))?;
        self.data = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let malformed = self.malformed("cut short");
        self.take(N)?.try_into().map_err(|_| malformed)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    fn expect(&mut self, tag: u8) -> Result<(), Malformed> {
        if self.u8()? == tag { Ok(()) } else { Err(self.malformed("tuple expected")) }
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let end =
            self.data.iter().position(|&b| b == 0).ok_or_else(|| self.malformed("unterminated text"))?;
        let text = self.take(end)?;
        self.u8()?;
        std::str::from_utf8(text).map_err(|_| self.malformed("text is not UTF-8"))
    }

    fn relation(&mut self) -> Result<Relation, Malformed> {
        let oid = self.u32()?;
        let schema = match self.text()? {
            "" => "pg_catalog".to_owned(),
            schema => schema.to_owned(),
        };
        let (name, replica_identity, count) = (self.text()?.to_owned(), self.u8()?, self.u16()?);
        let column = |_| {
            Ok(RelationColumn {
                identity: self.u8()? & 1 == 1,
                name: self.text()?.to_owned(),
                type_oid: self.u32()?,
                type_modifier: self.u32()?.cast_signed(),
            })
        };
        let columns: Result<_, Malformed> = (0..count).map(column).collect();
        Ok(Relation { oid, schema, name, replica_identity, columns: columns? })
    }

    fn old(&mut self, kind: u8) -> Result<Old<'a>, Malformed> {
        match kind {
            b'K' => self.tuple().map(Old::Key),
            b'O' => self.tuple().map(Old::Full),
            _ => Err(self.malformed("old tuple expected")),
        }
    }

    fn tuple(&mut self) -> Result<Tuple<'a>, Malformed> {
        let count = self.u16()?;
        let mut fields = Vec::with_capacity(usize::from(count).min(self.data.len()));
        for _ in 0..count {
            fields.push(match self.u8()? {
                b'n' => Field::Null,
                b'u' => Field::Unchanged,
                b't' => {
                    let length = self.u32()? as usize;
                    Field::Text(self.take(length)?)
                }
                _ => return Err(self.malformed("field of unknown kind")),
            });
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_field(text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [b"t", &length[..], text.as_bytes()].concat()
    }

    #[test]
    fn an_update_with_all_kinds_of_fields() {
        let mut data = b"U\0\0\0\x07".to_vec();
        data.extend(b"K\0\x02");
        data.extend(text_field("1"));
        data.extend(b"nN\0\x02");
        data.extend(text_field("2"));
        data.extend(b"u");
        let expected = Message::Update {
            relation: 7,
            old: Some(Old::Key(vec![Field::Text(b"1"), Field::Null])),
            new: vec![Field::Text(b"2"), Field::Unchanged],
        };
        assert_eq!(decode(&data, false), Ok((None, expected.clone())));
        // Inside a streamed block the id of the transaction comes first.
        data.splice(1..1, 99_u32.to_be_bytes());
        assert_eq!(decode(&data, true), Ok((Some(99), expected)));
        for cut in 0..data.len() {
            assert!(decode(&data[..cut], true).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_relation() {
        let mut data = b"R\0\0\0\x07public\0users\0d\0\x01\x01id\0".to_vec();
        data.extend(20_u32.to_be_bytes());
        data.extend((-1_i32).to_be_bytes());
        let columns =
            vec![RelationColumn { identity: true, name: "id".into(), type_oid: 20, type_modifier: -1 }];
        let relation = Relation {
            oid: 7,
            schema: "public".into(),
            name: "users".into(),
            replica_identity: b'd',
            columns,
        };
        assert_eq!(decode(&data, false), Ok((None, Message::Relation(relation))));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_message_or_an_error(data in prop::collection::vec(any::<u8>(), 0..200), streamed: bool) {
            let _ = decode(&data, streamed);
        }

        #[test]
        fn any_body_of_a_known_message_gives_a_message_or_an_error(
            tag in prop::sample::select(b"BCRIUDTMYOSEcA".to_vec()),
            body in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, b'N', b'K', b'O', b't', b'n', b'u', 255]), 0..60),
            streamed: bool,
        ) {
            let _ = decode(&[&[tag], &body[..]].concat(), streamed);
        }
    }
}
