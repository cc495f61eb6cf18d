//! Kernels of `shaders/decode`: the survivors of a filter, and of an eviction from a cache.

use burn::tensor::{DType, Int, Tensor};

use super::{
    Kernel, from_host, host, host_integers,
    launch::{Launch, from_adapter, integers_on_adapter, on_adapter},
};
use crate::oracle::decode::{self as oracle, GatherRowsParams};

/// `shaders/decode/gather_rows.wgsl`
pub const GATHER_ROWS: Kernel =
    Kernel::new("gather_rows", include_str!("../../shaders/decode/gather_rows.wgsl"), [64, 1, 1]);

/// The rows `index` of `x`; see [`oracle::gather_rows`]. Every index must be below the number of rows.
pub fn gather_rows(x: &Tensor<2>, index: &Tensor<1, Int>) -> Tensor<2> {
    let ([_, width], [rows]) = (x.dims(), index.dims());
    let params = GatherRowsParams { rows: rows as u32, width: width as u32 };
    if let (Some(x), Some(index)) = (on_adapter(x), integers_on_adapter(index)) {
        let groups = [params.width.div_ceil(GATHER_ROWS.workgroup[0]), params.rows, 1];
        let launch = Launch::new(GATHER_ROWS).input(x).input(index).output([rows, width], DType::F32);
        return from_adapter(launch.run(groups, &params).remove(0));
    }
    let mut gathered = vec![0.0; rows * width];
    oracle::gather_rows(&params, &host(x.clone()), &host_integers(index.clone()), &mut gathered);
    from_host(gathered, [rows, width], &x.device())
}
