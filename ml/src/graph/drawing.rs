//! [`Drawing`]: what a network needs to write itself into a graph.

use std::slice::Iter;

use super::builder::Graph;
use super::values::Value;
use crate::{Error, Result};

/// A parameter of a network with its values.
#[derive(Debug, Clone, Copy)]
pub struct Weight<'a> {
    /// The name in the model file.
    pub name: &'a str,
    /// The dimensions.
    pub shape: &'a [usize],
    /// The values, row-major.
    pub values: &'a [f64],
}

/// A graph with the encoded rows, and the parameters that are not in it yet.
#[derive(Debug)]
pub struct Drawing<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// Standardised numbers `[rows, numbers]` in the precision of the network, if rows have numbers.
    pub numbers: Option<Value>,
    /// Ids of categories `[rows, categories]` (i64), if rows have categories.
    pub categories: Option<Value>,
    /// Pixels `[rows, channels, height, width]` (u8), if rows have an image.
    pub pixels: Option<Value>,
    weights: Iter<'a, Weight<'a>>,
}

impl<'a> Drawing<'a> {
    /// A drawing of a network with these parameters, in the order of the network.
    pub fn new(graph: &'a mut Graph, weights: &'a [Weight<'a>]) -> Self {
        Self {
            graph,
            numbers: None,
            categories: None,
            pixels: None,
            weights: weights.iter(),
        }
    }

    /// The parameter that a layer takes next.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is none.
    pub fn weight(&mut self) -> Result<Weight<'a>> {
        let next = self.weights.next().copied();
        next.ok_or_else(|| Error::Internal("fewer parameters than the network has".into()))
    }

    /// The same as a constant.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is none.
    pub fn parameter(&mut self) -> Result<Value> {
        let weight = self.weight()?;
        Ok(self.constant(weight, weight.shape))
    }

    /// The same as a constant of other dimensions.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is none.
    pub fn parameter_as(&mut self, shape: &[usize]) -> Result<Value> {
        let weight = self.weight()?;
        Ok(self.constant(weight, shape))
    }

    fn constant(&mut self, weight: Weight<'_>, shape: &[usize]) -> Value {
        self.graph.numbers(weight.name, shape, weight.values)
    }

    /// The numbers of the rows.
    ///
    /// # Errors
    /// [`Error::Internal`] if rows have none.
    pub fn numbers(&self) -> Result<Value> {
        let numbers = self.numbers.clone();
        numbers.ok_or_else(|| Error::Internal("a network without numbers".into()))
    }

    /// The ids of the categories of the rows.
    ///
    /// # Errors
    /// [`Error::Internal`] if rows have none.
    pub fn categories(&self) -> Result<Value> {
        let ids = self.categories.clone();
        ids.ok_or_else(|| Error::Internal("a network without categories".into()))
    }

    /// The pixels of the rows.
    ///
    /// # Errors
    /// [`Error::Internal`] if rows have none.
    pub fn pixels(&self) -> Result<Value> {
        let pixels = self.pixels.clone();
        pixels.ok_or_else(|| Error::Internal("a network without pixels".into()))
    }

    /// The sum of the parameters of the ids in each row: `[rows, width]`. The next parameter has a row for each id.
    ///
    /// # Errors
    /// [`Error::Internal`] if rows have no categories, or there is no parameter.
    pub fn sum_of_categories(&mut self) -> Result<Value> {
        let ids = self.categories()?;
        let weights = self.parameter()?;
        Ok(self.graph.sum_of_ids(&weights, &ids))
    }
}
