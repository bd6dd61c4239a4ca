//! The file as rows: gzip or not, which column is which, and on which line each row stands.
//!
//! A row is one line of the file. A field that runs over a line break is not read as one field: an
//! unpaired quotation mark would swallow every sale up to the next one. Both lines are rejected
//! and named instead.

use super::line::{Checked, Fields, LineProblem, check};
use counterfoil_domain::document::normalize_code;
use csv_core::ReadRecordResult;
use flate2::read::MultiGzDecoder;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::str::FromStr;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BUFFER_SIZE: usize = 64 * 1024;

/// Longest line, in bytes. A real one has about a hundred; a longer one means that this is another
/// kind of file, and the import stops.
const LINE_SIZE_MAX: usize = 1024 * 1024;

/// The columns a file must have, in the order in which [`Columns`] holds them.
const COLUMNS: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];

/// Why a file cannot be imported at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadImportError {
    /// The bytes cannot be read, or the compressed data is damaged.
    #[error("cannot read the file after line {line}")]
    Read {
        /// Last line that was read.
        line: u64,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Not a file of lines.
    #[error("line {line} is longer than {LINE_SIZE_MAX} bytes: this is not such a file")]
    LineTooLong {
        /// The line.
        line: u64,
    },
    /// The header lacks columns.
    #[error(
        "the header lacks {}; line 1 must name the columns {}",
        missing.join(", "),
        COLUMNS.join(", ")
    )]
    MissingColumns {
        /// The columns that are not there.
        missing: Vec<&'static str>,
    },
    /// The filter names a column that is not there.
    #[error("the filter asks for the column `{column}`, the file has {}", columns.join(", "))]
    FilterColumn {
        /// What the filter names.
        column: String,
        /// What the file has.
        columns: Vec<String>,
    },
}

/// Takes only the rows that hold a value in a column; written `Country=France`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Name of the column.
    pub column: String,
    /// What must stand there; blanks around it do not count.
    pub value: String,
}

/// Text that is not a filter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not of the form Column=Value, such as Country=France")]
pub struct ParseFilterError(String);

impl FromStr for Filter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Self, ParseFilterError> {
        match text.split_once('=') {
            Some((column, value)) if !column.trim().is_empty() => Ok(Self {
                column: column.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err(ParseFilterError(text.to_owned())),
        }
    }
}

/// One row of the file, accepted or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Line of the file, from 1 (the header is line 1).
    pub file_line: u64,
    /// Invoice number, trimmed and upper-cased; empty when it cannot be read.
    pub invoice: String,
    /// The country as it stands there; empty when it cannot be read.
    pub country: String,
    pub(super) content: Result<Checked, LineProblem>,
}

/// The rows of a file, in order; an error ends them. Empty lines are no rows.
pub struct Rows<'r> {
    lines: Lines<'r>,
    record: Record,
    columns: Columns,
    filter: Option<(usize, String)>,
    filtered_out: u64,
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl<'r> Rows<'r> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadImportError`]: unreadable, columns missing, or a filter on an unknown column.
    pub fn open(reader: impl Read + 'r, filter: Option<&Filter>) -> Result<Self, ReadImportError> {
        let mut lines = Lines::open(reader)?;
        let mut record = Record::new();
        let header = if lines.advance()? {
            record.split(
                lines
                    .line
                    .strip_prefix(BYTE_ORDER_MARK)
                    .unwrap_or(&lines.line),
            );
            (0..record.count)
                .map(|index| {
                    String::from_utf8_lossy(record.field(index))
                        .trim()
                        .to_owned()
                })
                .collect()
        } else {
            Vec::new()
        };
        let columns = Columns::find(&header)?;
        let filter = filter
            .map(|filter| filter_index(filter, header))
            .transpose()?;
        Ok(Self {
            lines,
            record,
            columns,
            filter,
            filtered_out: 0,
        })
    }

    /// Rows so far that did not match the filter.
    pub const fn filtered_out(&self) -> u64 {
        self.filtered_out
    }

    /// A row that is too short to be judged by the filter stays in, so that somebody sees it.
    fn is_filtered_out(&self) -> bool {
        let Some((index, value)) = &self.filter else {
            return false;
        };
        self.record.count == self.columns.count
            && self.record.field(*index).trim_ascii() != value.as_bytes()
    }

    fn row(&self) -> Row {
        let text = |column: usize| {
            let index = self.columns.index[column];
            let field = if index < self.record.count {
                self.record.field(index)
            } else {
                Default::default()
            };
            std::str::from_utf8(field)
        };
        let invoice = normalize_code(text(0).unwrap_or_default());
        let content = (|| {
            if self.record.count != self.columns.count {
                let (found, expected) = (self.record.count, self.columns.count);
                return Err(LineProblem::Columns { found, expected });
            }
            let field = |column| text(column).map_err(|_| LineProblem::NotUtf8);
            field(0)?;
            let fields = Fields {
                invoice: &invoice,
                sku: field(1)?,
                description: field(2)?,
                quantity: field(3)?,
                date: field(4)?,
                price: field(5)?,
                customer: field(6)?,
            };
            check(self.lines.number, &fields)
        })();
        let country = text(7).unwrap_or_default().trim().to_owned();
        Row {
            file_line: self.lines.number,
            invoice,
            country,
            content,
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, ReadImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.lines.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            if self.lines.line.trim_ascii().is_empty() {
                continue;
            }
            self.record.split(&self.lines.line);
            if self.is_filtered_out() {
                self.filtered_out += 1;
                continue;
            }
            return Some(Ok(self.row()));
        }
    }
}

/// Where the columns of [`COLUMNS`] stand.
#[derive(Debug)]
struct Columns {
    index: [usize; COLUMNS.len()],
    count: usize,
}

impl Columns {
    fn find(header: &[String]) -> Result<Self, ReadImportError> {
        let mut index = [0; COLUMNS.len()];
        let mut missing = Vec::new();
        for (name, index) in COLUMNS.into_iter().zip(&mut index) {
            match header.iter().position(|found| found == name) {
                Some(found) => *index = found,
                None => missing.push(name),
            }
        }
        if missing.is_empty() {
            Ok(Self {
                index,
                count: header.len(),
            })
        } else {
            Err(ReadImportError::MissingColumns { missing })
        }
    }
}

fn filter_index(filter: &Filter, header: Vec<String>) -> Result<(usize, String), ReadImportError> {
    match header.iter().position(|name| *name == filter.column) {
        Some(index) => Ok((index, filter.value.clone())),
        None => {
            let column = filter.column.clone();
            Err(ReadImportError::FilterColumn {
                column,
                columns: header,
            })
        }
    }
}

/// The lines of a file, unpacked when it is compressed.
struct Lines<'r> {
    reader: Box<dyn BufRead + 'r>,
    /// Without its line break.
    line: Vec<u8>,
    /// From 1; 0 before the first.
    number: u64,
}

impl<'r> Lines<'r> {
    fn open(reader: impl Read + 'r) -> Result<Self, ReadImportError> {
        let mut reader = BufReader::with_capacity(BUFFER_SIZE, reader);
        let start = reader
            .fill_buf()
            .map_err(|source| ReadImportError::Read { line: 0, source })?;
        let reader: Box<dyn BufRead + 'r> = if start.starts_with(&GZIP_MAGIC) {
            Box::new(BufReader::with_capacity(
                BUFFER_SIZE,
                MultiGzDecoder::new(reader),
            ))
        } else {
            Box::new(reader)
        };
        Ok(Self {
            reader,
            line: Vec::new(),
            number: 0,
        })
    }

    /// Reads the next line; false at the end.
    fn advance(&mut self) -> Result<bool, ReadImportError> {
        self.line.clear();
        let limit = LINE_SIZE_MAX as u64 + 1;
        let size = (&mut self.reader)
            .take(limit)
            .read_until(b'\n', &mut self.line)
            .map_err(|source| ReadImportError::Read {
                line: self.number,
                source,
            })?;
        if size == 0 {
            return Ok(false);
        }
        self.number += 1;
        if size > LINE_SIZE_MAX {
            return Err(ReadImportError::LineTooLong { line: self.number });
        }
        for end in [b'\n', b'\r'] {
            if self.line.last() == Some(&end) {
                self.line.pop();
            }
        }
        Ok(true)
    }
}

/// A line split into fields; the buffers are used again for the next.
struct Record {
    parser: csv_core::Reader,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Record {
    fn new() -> Self {
        Self {
            parser: csv_core::Reader::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
            count: 0,
        }
    }

    /// Splits a line that holds no line break.
    fn split(&mut self, line: &[u8]) {
        // No field is longer than the line, and there are no more fields than bytes and one.
        self.bytes.resize(self.bytes.len().max(line.len() + 1), 0);
        self.ends.resize(self.ends.len().max(line.len() + 1), 0);
        self.parser.reset();
        let (_, _, written, count) = self
            .parser
            .read_record(line, &mut self.bytes, &mut self.ends);
        // An empty input tells the parser that the line ends here.
        let (result, _, _, more) =
            self.parser
                .read_record(&[], &mut self.bytes[written..], &mut self.ends[count..]);
        debug_assert!(matches!(
            result,
            ReadRecordResult::Record | ReadRecordResult::End
        ));
        self.count = count + more;
    }

    fn field(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}
