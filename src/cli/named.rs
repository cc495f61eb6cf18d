//! Values with names, which completions offer.

use std::{ffi::OsStr, marker::PhantomData, str::FromStr};

use clap::{
    Arg, Command,
    builder::{PossibleValue, TypedValueParser},
};

use crate::Error;

/// Reads a value as its type does, with the type's own message for unknown names.
#[derive(Clone)]
pub(super) struct Named<T> {
    names: Vec<&'static str>,
    value: PhantomData<fn() -> T>,
}

/// A reader of values that have these names.
pub(super) fn named<T>(names: impl IntoIterator<Item = &'static str>) -> Named<T> {
    Named { names: names.into_iter().collect(), value: PhantomData }
}

impl<T: FromStr<Err = Error> + Clone + Send + Sync + 'static> TypedValueParser for Named<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parse = |text: &str| text.parse::<T>();
        parse.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.names.iter().map(|name| PossibleValue::new(*name))))
    }
}
