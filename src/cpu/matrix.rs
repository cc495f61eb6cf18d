//! Matrices in memory, tiles of them, and their products by the `gemm` crate.
#![allow(unsafe_code)]

use std::marker::PhantomData;

/// A matrix whose rows and columns lie so far apart.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` values side by side, `stride` apart.
    ///
    /// # Panics
    ///
    /// If there are fewer values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let needed =
            rows.checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride)?.checked_add(columns));
        let is_there = needed.is_some_and(|needed| needed <= values.len());
        assert!(is_there, "{rows} rows of {columns} in {} values", values.len());
        Self { values, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The matrix with rows and columns exchanged, where it lies.
    pub fn turned(self) -> Self {
        let Self { values, rows, columns, row_stride, column_stride } = self;
        Self { values, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// `product = self other`, or that added to what is there.
    ///
    /// # Panics
    ///
    /// If the sizes do not fit each other.
    pub fn multiply(self, other: Self, product: &mut MatrixMut, adds: bool) {
        assert_eq!(self.columns, other.rows, "as many columns as rows");
        assert_eq!((self.rows, other.columns), (product.rows, product.columns), "room for the product");
        // SAFETY: all three matrices lie in slices, as they were made or cut, which are borrowed as long as they are, the
        // product's mutably.
        unsafe {
            gemm::gemm(
                self.rows,
                other.columns,
                self.columns,
                product.start,
                product.column_stride as isize,
                product.row_stride as isize,
                adds,
                self.values.as_ptr(),
                self.column_stride as isize,
                self.row_stride as isize,
                other.values.as_ptr(),
                other.column_stride as isize,
                other.row_stride as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// A matrix to write to, or a tile of one, which other threads may write other tiles of.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is the only way to its values, as a `&mut` is.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// `rows` rows of `columns` values, one behind the other.
    ///
    /// # Panics
    ///
    /// If there are fewer or more values.
    pub fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(columns), "{rows} rows of {columns}");
        let start = values.as_mut_ptr();
        Self { start, rows, columns, row_stride: columns, column_stride: 1, values: PhantomData }
    }

    /// The matrix with rows and columns exchanged, where it lies.
    pub fn turned(self) -> Self {
        let (rows, columns) = (self.columns, self.rows);
        Self { rows, columns, row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Cuts the matrix into tiles of `rows` rows and `columns` columns, the last of each with what is left, in the order
    /// of rows and then of columns.
    pub fn tiles(self, rows: usize, columns: usize) -> Vec<Self> {
        let of_band = |top: usize| (0..self.columns).step_by(columns.max(1)).map(move |left| (top, left));
        let corners = (0..self.rows).step_by(rows.max(1)).flat_map(of_band);
        corners.map(|(top, left)| self.tile(top, left, rows, columns)).collect()
    }

    /// Cuts the matrix into its first `columns` columns and the others.
    pub fn split(self, columns: usize) -> (Self, Self) {
        let columns = columns.min(self.columns);
        (self.tile(0, 0, self.rows, columns), self.tile(0, columns, self.rows, self.columns - columns))
    }

    /// A tile; no value may be in two of them.
    fn tile(&self, top: usize, left: usize, rows: usize, columns: usize) -> Self {
        Self {
            // Behind the last value where the tile is empty: it is not written through then.
            start: self.start.wrapping_add(top * self.row_stride + left * self.column_stride),
            rows: rows.min(self.rows - top),
            columns: columns.min(self.columns - left),
            ..*self
        }
    }

    /// Row `index`, of a matrix whose rows' values lie side by side.
    ///
    /// # Panics
    ///
    /// If there is no such row, or it does not.
    pub fn row(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.rows && self.column_stride == 1, "row {index} of {}", self.rows);
        // SAFETY: the row is in the slice that the matrix was made of, and no other tile has its values.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(index * self.row_stride), self.columns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_matrix_once() {
        for (rows, columns) in [(1, 1), (3, 5), (64, 7), (65, 64), (0, 3), (3, 0)] {
            let mut values = vec![0.0; rows * columns];
            for (height, width) in [(1, 1), (2, 3), (64, 64)] {
                values.fill(0.0);
                for mut tile in MatrixMut::new(&mut values, rows, columns).tiles(height, width) {
                    assert!(tile.rows() <= height && tile.columns() <= width);
                    (0..tile.rows()).for_each(|row| tile.row(row).iter_mut().for_each(|value| *value += 1.0));
                }
                assert!(values.iter().all(|value| *value == 1.0), "{rows} x {columns} by {height} x {width}");
            }
        }
    }

    #[test]
    fn products_go_where_the_tile_is() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 10.0, 100.0]);
        let mut all = vec![-1.0; 8];
        let (_, mut right) = MatrixMut::new(&mut all, 2, 4).split(2);
        Matrix::new(&a, 2, 2, 2).multiply(Matrix::new(&b, 2, 2, 2), &mut right, false);
        assert_eq!(all, [-1.0, -1.0, 21.0, 200.0, -1.0, -1.0, 43.0, 400.0]);
        let mut turned = MatrixMut::new(&mut all[..4], 2, 2).turned();
        Matrix::new(&a, 2, 2, 2).multiply(Matrix::new(&b, 2, 2, 2).turned(), &mut turned, true);
        assert_eq!(all[..4], [0.0, 2.0, 231.0, 630.0]);
    }
}
