//! Country, region and city of an address, from a MaxMind database when there is one.
//!
//! Invariant: fields are empty, not wrong: without a database, for an address that it does not know, and
//! for one that was shortened or hashed when it was collected.

use super::StageError;
use maxminddb::{Reader, geoip2};
use std::net::IpAddr;
use std::path::Path;

/// Where an address is. Absent where that is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// ISO 3166-2 without the country: `BY` of `DE-BY`.
    pub region: Option<String>,
    /// English name.
    pub city: Option<String>,
}

/// Tells where addresses are.
#[derive(Debug, Default)]
pub struct Geo(Option<Reader<Vec<u8>>>);

impl Geo {
    /// Opens the database, or tells nothing without one. The file is read into memory.
    ///
    /// # Errors
    /// [`StageError::Geo`] where it cannot be read or is no MaxMind database.
    pub fn open(file: Option<&Path>) -> Result<Self, StageError> {
        let Some(path) = file else { return Ok(Geo(None)) };
        let reader = Reader::open_readfile(path)
            .map_err(|error| StageError::Geo { path: path.to_owned(), error: error.to_string() })?;
        Ok(Geo(Some(reader)))
    }

    /// Where this address is.
    #[must_use]
    pub fn place(&self, address: &str) -> Place {
        let Some(reader) = &self.0 else { return Place::default() };
        let Ok(address) = address.parse::<IpAddr>() else { return Place::default() };
        let Ok(Some(city)) = reader.lookup(address).and_then(|found| found.decode::<geoip2::City<'_>>())
        else {
            return Place::default();
        };
        Place {
            country: city.country.iso_code.map(str::to_owned),
            region: city.subdivisions.first().and_then(|part| part.iso_code).map(str::to_owned),
            city: city.city.names.english.map(str::to_owned),
        }
    }
}
