//! The values of a GGUF file's metadata.

use super::cursor::Cursor;

/// Arrays within arrays: real files have none.
const DEEPEST_ARRAY: usize = 4;

/// A value of the metadata; whole numbers and floats of every width become the widest.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `uint8`, `uint16`, `uint32` or `uint64`.
    Unsigned(u64),
    /// `int8`, `int16`, `int32` or `int64`.
    Signed(i64),
    /// `float32` or `float64`.
    Float(f64),
    /// `bool`.
    Bool(bool),
    /// `string`.
    Text(String),
    /// `array`.
    Array(Array),
}

/// An array, held as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    kind: Kind,
    len: usize,
    /// Were read once, and hold `len` values.
    bytes: Vec<u8>,
}

impl Array {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values in order.
    pub fn values(&self) -> impl Iterator<Item = Value> + '_ {
        let mut cursor = Cursor::new(&self.bytes);
        (0..self.len).map_while(move |_| self.kind.read(&mut cursor, "array", 0).ok())
    }
}

/// The type of a value, by its number in the format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    pub fn read_kind(cursor: &mut Cursor, what: &str) -> Result<Self, String> {
        let number = cursor.u32(what)?;
        let kind = usize::try_from(number).ok().and_then(|index| Self::ALL.get(index).copied());
        kind.ok_or_else(|| format!("damaged: {what}: expected a type from 0 to 12, found {number}"))
    }

    /// What a value takes at least.
    fn least_bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::Text => 8,
            Self::Array => 12,
        }
    }

    /// Reads a value inside `depth` arrays.
    pub fn read(self, cursor: &mut Cursor, what: &str, depth: usize) -> Result<Value, String> {
        Ok(match self {
            Self::U8 => Value::Unsigned(u8::from_le_bytes(cursor.array(what)?).into()),
            Self::U16 => Value::Unsigned(u16::from_le_bytes(cursor.array(what)?).into()),
            Self::U32 => Value::Unsigned(cursor.u32(what)?.into()),
            Self::U64 => Value::Unsigned(cursor.u64(what)?),
            Self::I8 => Value::Signed(i8::from_le_bytes(cursor.array(what)?).into()),
            Self::I16 => Value::Signed(i16::from_le_bytes(cursor.array(what)?).into()),
            Self::I32 => Value::Signed(i32::from_le_bytes(cursor.array(what)?).into()),
            Self::I64 => Value::Signed(i64::from_le_bytes(cursor.array(what)?)),
            Self::F32 => Value::Float(f32::from_le_bytes(cursor.array(what)?).into()),
            Self::F64 => Value::Float(f64::from_le_bytes(cursor.array(what)?)),
            Self::Text => Value::Text(cursor.text(what)?.to_owned()),
            Self::Array => Value::Array(read_array(cursor, what, depth)?),
            Self::Bool => match cursor.array(what)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [found] => return Err(format!("damaged: {what}: expected 0 or 1, found {found}")),
            },
        })
    }
}

fn read_array(cursor: &mut Cursor, what: &str, depth: usize) -> Result<Array, String> {
    if depth == DEEPEST_ARRAY {
        return Err(format!("{what}: expected arrays at most {DEEPEST_ARRAY} deep, found more"));
    }
    let kind = Kind::read_kind(cursor, what)?;
    let len = cursor.count(kind.least_bytes(), &format!("number of values of {what}"))?;
    let mut reader = cursor.rest();
    for _ in 0..len {
        kind.read(&mut reader, what, depth + 1)?;
    }
    let bytes = cursor.take(reader.at(), what)?.to_vec();
    Ok(Array { kind, len, bytes })
}
