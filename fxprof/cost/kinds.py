"""The operators that cost no MACs, by kind, each kind with the reason.

An operator that is missing both here and in the table of formulas is uncounted, never zero. Decompositions by singular values
or eigenvalues and products of two sparse matrices are left out on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fxprof.cost.registry import spellings

REASONS: Mapping[str, str] = {
    "fourier": "A fast transform has no MACs of a contraction; it is counted in FLOPs by 5 N log2 N, apart from the MACs.",
    "normalisation": "Each element is scaled by a sum over its neighbours; nothing is contracted.",
    "elementwise": "Each result element depends on one element of every operand; products are not summed.",
    "reduction": "Elements are summed or compared along an axis, some after an elementwise step; nothing is contracted.",
    "resampling": "Pooling and interpolation weigh a few neighbours by position, not by a learned contraction.",
    "lookup": "Elements are found, selected, sorted or fetched by index.",
    "movement": "Elements are copied or rearranged, at most added onto one another.",
    "view": "The same elements under another shape; nothing is computed.",
    "creation": "A tensor is filled with a constant or a pattern.",
    "random": "Elements are drawn at random, or dropped at random.",
    "symbolic": "Arithmetic on sizes and single numbers, outside tensors.",
    "check": "A property, a mode or a condition is looked at or set; nothing is computed.",
}
"""Kind to the reason why its operators cost no MACs."""

_NAMES: Mapping[str, Mapping[str, str]] = {
    "fourier": {
        "aten": """
            _fft_c2c _fft_c2r _fft_r2c fft_fft fft_fft2 fft_fftn fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn
            fft_ihfft fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn istft stft
        """,
    },
    "normalisation": {
        "aten": """
            _batch_norm_impl_index _batch_norm_impl_index_backward _batch_norm_no_update _batch_norm_with_update
            _batch_norm_with_update_functional _fused_rms_norm _fused_rms_norm_backward _log_softmax
            _log_softmax_backward_data _masked_softmax _masked_softmax_backward _native_batch_norm_legit
            _native_batch_norm_legit_functional _native_batch_norm_legit_no_training
            _nested_tensor_softmax_with_shape _safe_softmax _softmax _softmax_backward_data _sparse_log_softmax
            _sparse_log_softmax_backward_data _sparse_softmax _sparse_softmax_backward_data _weight_norm
            _weight_norm_differentiable_backward _weight_norm_interface _weight_norm_interface_backward batch_norm
            batch_norm_backward batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt
            batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats
            cudnn_batch_norm cudnn_batch_norm_backward embedding_renorm group_norm instance_norm layer_norm
            log_softmax miopen_batch_norm miopen_batch_norm_backward native_batch_norm native_batch_norm_backward
            native_group_norm native_group_norm_backward native_layer_norm native_layer_norm_backward
            norm_except_dim quantized_batch_norm renorm rms_norm softmax special_log_softmax special_softmax
        """,
    },
    "elementwise": {
        "bitsandbytes": """
            dequantize_4bit dequantize_blockwise int8_double_quant int8_mm_dequant int8_vectorwise_dequant
            int8_vectorwise_quant quantize_4bit quantize_blockwise
        """,
        "aten": """
            __and__ __iand__ __ilshift__ __ior__ __irshift__ __ixor__ __lshift__ __or__ __rshift__ __xor__ _add_relu
            _amp_update_scale _conj_physical _dirichlet_grad _fake_quantize_learnable_per_channel_affine
            _fake_quantize_learnable_per_channel_affine_backward _fake_quantize_learnable_per_tensor_affine
            _fake_quantize_learnable_per_tensor_affine_backward
            _fake_quantize_per_tensor_affine_cachemask_tensor_qparams _foreach_abs _foreach_acos _foreach_add
            _foreach_addcdiv _foreach_addcmul _foreach_asin _foreach_atan _foreach_ceil _foreach_clamp_max
            _foreach_clamp_min _foreach_cos _foreach_cosh _foreach_div _foreach_erf _foreach_erfc _foreach_exp
            _foreach_expm1 _foreach_floor _foreach_frac _foreach_lerp _foreach_lgamma _foreach_log _foreach_log10
            _foreach_log1p _foreach_log2 _foreach_maximum _foreach_minimum _foreach_mul _foreach_neg _foreach_pow
            _foreach_reciprocal _foreach_round _foreach_rsqrt _foreach_sigmoid _foreach_sign _foreach_sin
            _foreach_sinh _foreach_sqrt _foreach_sub _foreach_tan _foreach_tanh _foreach_trunc _fused_adagrad
            _fused_adam _fused_adamw _fused_moving_avg_obs_fq_helper _fused_moving_avg_obs_fq_helper_functional
            _fused_sgd _prelu_kernel _prelu_kernel_backward _saturate_weight_to_fp16 _standard_gamma_grad
            _thnn_differentiable_gru_cell_backward _thnn_differentiable_lstm_cell_backward _thnn_fused_gru_cell
            _thnn_fused_gru_cell_backward _thnn_fused_lstm_cell _thnn_fused_lstm_cell_backward
            _thnn_fused_lstm_cell_backward_impl _transform_bias_rescale_qkv abs absolute acos acosh add addcdiv
            addcmul addr angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh
            bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil celu clamp
            clamp_max clamp_min clip complex conj_physical copysign cos cosh cross deg2rad dequantize diff digamma
            div divide elu elu_backward eq erf erfc erfinv exp exp2 expm1 fake_quantize_per_channel_affine
            fake_quantize_per_channel_affine_cachemask fake_quantize_per_channel_affine_cachemask_backward
            fake_quantize_per_tensor_affine fake_quantize_per_tensor_affine_cachemask
            fake_quantize_per_tensor_affine_cachemask_backward fix float_power floor floor_divide fmax fmin fmod
            frac frexp fused_moving_avg_obs_fake_quant gcd ge gelu gelu_backward ger glu glu_backward
            glu_backward_jvp glu_jvp gradient greater greater_equal gt hardshrink hardshrink_backward hardsigmoid
            hardsigmoid_backward hardswish hardswish_backward hardtanh hardtanh_backward heaviside hypot i0 igamma
            igammac infinitely_differentiable_gelu_backward isclose isfinite isinf isnan isneginf isposinf isreal
            kron lcm ldexp le leaky_relu leaky_relu_backward lerp less less_equal lgamma linalg_cross log log10
            log1p log2 log_sigmoid log_sigmoid_backward log_sigmoid_forward logaddexp logaddexp2 logical_and
            logical_not logical_or logical_xor logit logit_backward lt masked_fill maximum minimum mish
            mish_backward mul multiply mvlgamma nan_to_num ne neg negative nextafter not_equal outer polar polygamma
            positive pow prelu quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic rad2deg
            reciprocal relu relu6 remainder round rsqrt rsub selu sgn sigmoid sigmoid_backward sign signbit silu
            silu_backward sin sinc sinh softplus softplus_backward softshrink softshrink_backward special_airy_ai
            special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1 special_chebyshev_polynomial_t
            special_chebyshev_polynomial_u special_chebyshev_polynomial_v special_chebyshev_polynomial_w
            special_digamma special_entr special_erf special_erfc special_erfcx special_erfinv special_exp2
            special_expit special_expm1 special_gammainc special_gammaincc special_gammaln
            special_hermite_polynomial_h special_hermite_polynomial_he special_i0 special_i0e special_i1 special_i1e
            special_laguerre_polynomial_l special_legendre_polynomial_p special_log1p special_log_ndtr special_logit
            special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0
            special_modified_bessel_k1 special_multigammaln special_ndtr special_ndtri special_polygamma special_psi
            special_round special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1
            special_shifted_chebyshev_polynomial_t special_shifted_chebyshev_polynomial_u
            special_shifted_chebyshev_polynomial_v special_shifted_chebyshev_polynomial_w special_sinc
            special_spherical_bessel_j0 special_xlog1py special_xlogy special_zeta sqrt square sub subtract tan tanh
            tanh_backward threshold threshold_backward true_divide trunc where xlogy
        """,
        "prims": """
            abs acos acosh add asin asinh atan atan2 atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0
            bessel_j1 bitwise_and bitwise_not bitwise_or bitwise_xor cbrt ceil conj conj_physical cos cosh digamma
            div eq erf erf_inv erfc erfcx exp exp2 expm1 floor fmax fmin fmod frexp gcd ge gt hypot igamma igammac
            imag isfinite le lgamma log log10 log1p log2 lt maximum minimum mul ndtri ne neg nextafter pow real
            reciprocal remainder round rsqrt shift_left shift_right_arithmetic sign signbit sin sinh
            spherical_bessel_j0 sqrt sub tan tanh trunc where zeta
        """,
        "quantized_decomposed": """
            convert_element_type dequantize_per_channel dequantize_per_channel_group dequantize_per_tensor
            dequantize_per_token fake_quant_per_channel quantize_per_channel quantize_per_channel_group
            quantize_per_tensor quantize_per_token
        """,
        "torchao": """
            dequantize_affine dequantize_affine_float8_non_decomposed quantize_affine
            quantize_affine_float8_non_decomposed
        """,
    },
    "reduction": {
        "aten": """
            _aminmax _amp_foreach_non_finite_check_and_unscale _choose_qparams_per_tensor _ctc_loss
            _ctc_loss_backward _cudnn_ctc_loss _cummax_helper _cummin_helper _foreach_max _foreach_norm
            _foreach_powsum _histogramdd_bin_edges _histogramdd_from_bin_cts _histogramdd_from_bin_tensors
            _is_all_true _is_any_true _logcumsumexp _nested_sum_backward _pdist_backward _pdist_forward
            _segment_reduce_backward _sparse_csr_prod _sparse_csr_sum _sparse_sum _sparse_sum_backward all allclose
            amax amin aminmax any argmax argmin binary_cross_entropy binary_cross_entropy_backward
            binary_cross_entropy_with_logits bincount choose_qparams_optimized cosine_embedding_loss
            cosine_similarity count_nonzero cross_entropy_loss ctc_loss cummax cummaxmin_backward cummin cumprod
            cumprod_backward cumsum cumulative_trapezoid dist equal frobenius_norm hash_tensor hinge_embedding_loss
            histc histogram histogramdd huber_loss huber_loss_backward kl_div kthvalue l1_loss linalg__powsum
            linalg_vector_norm logcumsumexp logsumexp margin_ranking_loss max mean median min miopen_ctc_loss mode
            mse_loss mse_loss_backward multi_margin_loss multi_margin_loss_backward multilabel_margin_loss
            multilabel_margin_loss_backward multilabel_margin_loss_forward nanmean nanmedian nanquantile nansum
            native_norm nll_loss nll_loss2d nll_loss2d_backward nll_loss2d_forward nll_loss_backward
            nll_loss_forward nll_loss_nd norm pairwise_distance pdist poisson_nll_loss prod quantile segment_reduce
            smooth_l1_loss smooth_l1_loss_backward soft_margin_loss soft_margin_loss_backward special_logsumexp std
            std_mean sum sum_to_size trace trace_backward trapezoid trapz triplet_margin_loss
            value_selecting_reduction_backward var var_mean
        """,
        "prims": """
            amax amin prod sum var xor_sum
        """,
        "quantized_decomposed": """
            _choose_qparams_per_token_asymmetric_impl choose_qparams choose_qparams_per_token
            choose_qparams_per_token_asymmetric choose_qparams_symmetric
        """,
        "torchao": """
            choose_qparams_affine choose_scale_float8
        """,
    },
    "resampling": {
        "aten": """
            _adaptive_avg_pool2d _adaptive_avg_pool2d_backward _adaptive_avg_pool3d _adaptive_avg_pool3d_backward
            _grid_sampler_2d_cpu_fallback _grid_sampler_2d_cpu_fallback_backward _upsample_bicubic2d_aa
            _upsample_bicubic2d_aa_backward _upsample_bilinear2d_aa _upsample_bilinear2d_aa_backward
            _upsample_lanczos2d_aa _upsample_lanczos2d_aa_backward _upsample_nearest_exact1d
            _upsample_nearest_exact1d_backward _upsample_nearest_exact2d _upsample_nearest_exact2d_backward
            _upsample_nearest_exact3d _upsample_nearest_exact3d_backward adaptive_avg_pool1d adaptive_avg_pool2d
            adaptive_avg_pool3d adaptive_avg_pool3d_backward adaptive_max_pool1d adaptive_max_pool2d
            adaptive_max_pool2d_backward adaptive_max_pool3d adaptive_max_pool3d_backward affine_grid_generator
            affine_grid_generator_backward avg_pool1d avg_pool2d avg_pool2d_backward avg_pool3d avg_pool3d_backward
            cudnn_affine_grid_generator cudnn_affine_grid_generator_backward cudnn_grid_sampler
            cudnn_grid_sampler_backward fractional_max_pool2d fractional_max_pool2d_backward fractional_max_pool3d
            fractional_max_pool3d_backward grid_sampler grid_sampler_2d grid_sampler_2d_backward grid_sampler_3d
            grid_sampler_3d_backward max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_backward
            max_pool2d_with_indices max_pool2d_with_indices_backward max_pool3d max_pool3d_with_indices
            max_pool3d_with_indices_backward max_unpool2d max_unpool3d mkldnn_adaptive_avg_pool2d
            mkldnn_adaptive_avg_pool2d_backward mkldnn_max_pool2d mkldnn_max_pool2d_backward mkldnn_max_pool3d
            mkldnn_max_pool3d_backward quantized_max_pool1d quantized_max_pool2d quantized_max_pool3d
            upsample_bicubic2d upsample_bicubic2d_backward upsample_bilinear2d upsample_bilinear2d_backward
            upsample_linear1d upsample_linear1d_backward upsample_nearest1d upsample_nearest1d_backward
            upsample_nearest2d upsample_nearest2d_backward upsample_nearest3d upsample_nearest3d_backward
            upsample_trilinear3d upsample_trilinear3d_backward
        """,
        "torchvision": """
            _ps_roi_align_backward _ps_roi_pool_backward _roi_align_backward _roi_pool_backward ps_roi_align ps_roi_pool
            roi_align roi_pool
        """,
    },
    "lookup": {
        "quantized": """
            embedding_4bit embedding_bag_4bit embedding_bag_4bit_rowwise_offsets embedding_bag_byte
            embedding_bag_byte_rowwise_offsets embedding_byte
        """,
        "aten": """
            _embedding_bag _embedding_bag_backward _embedding_bag_dense_backward _embedding_bag_forward_only
            _embedding_bag_per_sample_weights_backward _embedding_bag_sparse_backward _gather_sparse_backward
            _unique _unique2 _unsafe_index _unsafe_masked_index argsort argwhere bucketize embedding
            embedding_backward embedding_bag embedding_dense_backward embedding_sparse_backward gather
            gather_backward index index_select index_select_backward isin masked_select masked_select_backward msort
            nonzero nonzero_numpy nonzero_static one_hot searchsorted sort take take_along_dim topk
            unique_consecutive unique_dim unique_dim_consecutive
        """,
        "torchvision": """
            nms
        """,
    },
    "movement": {
        "aten": """
            _autocast_to_full_precision _autocast_to_reduced_precision _cast_Byte _cast_Char _cast_Double
            _cast_Float _cast_Half _cast_Int _cast_Long _cast_Short _chunk_cat _coalesce _conj_copy
            _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo _convert_weight_to_int4pack
            _convert_weight_to_int4pack_for_cpu _copy_from _copy_from_and_resize _cslt_compress
            _cudnn_rnn_flatten_weight _dyn_quant_pack_4bit_weight _foreach_clone _foreach_copy _fw_primal_copy
            _index_put_impl _indices_copy _jagged_to_padded_dense_forward _lazy_clone _make_dual_copy
            _mkldnn_reshape _mkldnn_transpose _neg_view_copy _nested_from_padded
            _nested_from_padded_and_nested_example _nested_from_padded_tensor _nested_select_backward
            _nested_tensor_from_mask _nested_tensor_from_tensor_list _pack_padded_sequence
            _pack_padded_sequence_backward _pad_circular _pad_enum _pad_packed_sequence
            _padded_dense_to_jagged_forward _pin_memory _propagate_xla_data _reshape_alias_copy _reshape_copy
            _rowwise_prune _shape_as_tensor _sparse_broadcast_to_copy _sparse_mask_projection _spdiags _stack
            _to_copy _to_cpu _to_dense _to_sparse _to_sparse_bsc _to_sparse_bsr _to_sparse_csc _to_sparse_csr
            _unsafe_index_put _unsafe_masked_index_put_accumulate _values_copy _wrapped_linear_prepack alias_copy
            as_strided_copy as_strided_scatter block_diag cartesian_prod cat ccol_indices_copy chalf channel_shuffle
            clone coalesce col2im col_indices_copy column_stack combinations concat concatenate constant_pad_nd
            contiguous copy copy_sparse_to_sparse crow_indices_copy data detach_copy diag diag_embed diagflat
            diagonal_backward diagonal_copy diagonal_scatter dstack expand_copy fbgemm_linear_quantize_weight
            fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix fft_fftshift fft_ifftshift
            flatten_dense_tensors flip fliplr flipud hstack im2col index_add index_copy index_fill index_put
            index_reduce indices_copy lift_fresh_copy masked_scatter masked_scatter_backward
            mkldnn_reorder_conv2d_weight mkldnn_reorder_conv3d_weight narrow_copy native_channel_shuffle
            nested_to_padded_tensor pad pad_sequence permute_copy pin_memory pixel_shuffle pixel_unshuffle put
            reflection_pad1d reflection_pad1d_backward reflection_pad2d reflection_pad2d_backward reflection_pad3d
            reflection_pad3d_backward repeat repeat_interleave replication_pad1d replication_pad1d_backward
            replication_pad2d replication_pad2d_backward replication_pad3d replication_pad3d_backward resolve_conj
            resolve_neg roll rot90 row_indices_copy row_stack scatter scatter_add scatter_reduce select_backward
            select_copy select_scatter set_data slice_backward slice_copy slice_scatter sparse_mask split_copy
            split_with_sizes_copy squeeze_copy stack t_copy tile to to_dense to_dense_backward to_mkldnn
            to_mkldnn_backward to_padded_tensor to_sparse to_sparse_bsc to_sparse_bsr to_sparse_csc to_sparse_csr
            transpose_copy tril triu type_as unbind_copy unfold_backward unfold_copy unsqueeze_copy values_copy
            view_as_complex_copy view_as_real_copy view_copy vstack
        """,
        "_c10d_functional": """
            all_gather_into_tensor all_gather_into_tensor_coalesced all_gather_into_tensor_out all_reduce
            all_reduce_coalesced all_to_all_single batch_p2p_ops broadcast irecv isend reduce_scatter_tensor
            reduce_scatter_tensor_coalesced reduce_scatter_tensor_out wait_tensor
        """,
        "prims": """
            as_strided_scatter cat clone collapse convert_element_type copy_strided copy_to device_put reshape rev
        """,
        "torchao": """
            da8w4_linear_prepack_cpu float8_linear_prepack_cpu
        """,
    },
    "view": {
        "aten": """
            _add_batch_dim _coalesced _conj _fw_primal _indices _make_dual _neg_view _nested_get_values
            _nested_get_values_copy _nested_view_from_buffer _nested_view_from_buffer_copy _nested_view_from_jagged
            _nested_view_from_jagged_copy _remove_batch_dim _reshape_alias _reshape_from_tensor _resize_output
            _sparse_broadcast_to _unpack_dual _unsafe_view _values adjoint alias as_strided atleast_1d atleast_2d
            atleast_3d broadcast_tensors broadcast_to ccol_indices chunk col_indices conj crow_indices detach
            diagonal dsplit expand expand_as flatten hsplit imag indices int_repr lift lift_fresh linalg_diagonal mH
            mT matrix_H meshgrid moveaxis movedim narrow numpy_T permute ravel real requires_grad_ reshape
            reshape_as resize resize_as resize_as_sparse retain_grad row_indices select set slice slice_inverse
            sparse_resize sparse_resize_and_clear split split_with_sizes squeeze swapaxes swapdims t tensor_split
            transpose unbind unflatten unflatten_dense_tensors unfold unsafe_chunk unsafe_split
            unsafe_split_with_sizes unsqueeze values view view_as view_as_complex view_as_real vsplit
        """,
        "export": """
            access_subclass_inner_tensor
        """,
        "prims": """
            as_strided broadcast_in_dim collapse_view resize split_dim squeeze transpose view_of view_of_dtype
        """,
    },
    "creation": {
        "aten": """
            _cudnn_init_dropout_state _dim_arange _efficientzerotensor _empty_affine_quantized
            _empty_per_channel_affine_quantized _foreach_zero _make_dep_token _make_per_channel_quantized_tensor
            _make_per_tensor_quantized_tensor _nested_get_jagged_dummy _new_zeros_with_same_feature_meta
            _sparse_bsc_tensor_unsafe _sparse_bsr_tensor_unsafe _sparse_compressed_tensor_unsafe
            _sparse_compressed_tensor_with_dims _sparse_coo_tensor_unsafe _sparse_coo_tensor_with_dims
            _sparse_coo_tensor_with_dims_and_tensors _sparse_csc_tensor_unsafe _sparse_csr_tensor_unsafe arange
            bartlett_window blackman_window empty empty_like empty_permuted empty_quantized empty_strided eye
            fft_fftfreq fft_rfftfreq fill fill_diagonal_ from_file full full_like hamming_window hann_window
            kaiser_window linalg_vander linspace logspace new_empty new_empty_strided new_full new_ones new_zeros
            ones ones_like range scalar_tensor sparse_bsc_tensor sparse_bsr_tensor sparse_compressed_tensor
            sparse_coo_tensor sparse_csc_tensor sparse_csr_tensor tril_indices triu_indices vander zero zeros
            zeros_like
        """,
        "prims": """
            empty empty_permuted empty_strided fill full full_like iota scalar_tensor
        """,
    },
    "random": {
        "aten": """
            _fill_mem_eff_dropout_mask_ _fused_dropout _masked_scale _philox_key_fold_in _philox_key_split
            _philox_normal _philox_uniform _sample_dirichlet _sobol_engine_draw _sobol_engine_ff_
            _sobol_engine_initialize_state_ _sobol_engine_scramble_ _standard_gamma alpha_dropout bernoulli binomial
            cauchy dropout exponential feature_alpha_dropout feature_dropout geometric log_normal multinomial
            native_dropout native_dropout_backward normal normal_functional poisson rand rand_like randint
            randint_like randn randn_like random random_ randperm rrelu rrelu_with_noise rrelu_with_noise_backward
            rrelu_with_noise_functional uniform
        """,
        "prims": """
            normal uniform
        """,
        "rngprims": """
            philox_rand
        """,
    },
    "symbolic": {
        "aten": """
            _dimI _dimV _functional_sym_constrain_range _functional_sym_constrain_range_for_size _local_scalar_dense
            _nested_compute_contiguous_strides_offsets _nested_get_lengths _nested_get_max_seqlen
            _nested_get_min_seqlen _nested_get_offsets _nested_get_ragged_idx _nested_tensor_size
            _nested_tensor_storage_offsets _nested_tensor_strides _nnz _version dense_dim dim get_device item numel
            output_nr q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme
            size sparse_dim storage_offset stride sym_constrain_range sym_constrain_range_for_size sym_is_contiguous
            sym_numel sym_size sym_storage_offset sym_stride
        """,
        "builtins": """
            abs bool float int max min pow round sum
        """,
        "math": """
            acos asin atan ceil cos cosh exp fabs floor fmod gcd isqrt log log10 log2 pow prod sin sinh sqrt tan
            tanh trunc
        """,
        "operator": """
            abs add and_ eq floordiv ge getitem gt index inv invert is_ is_not le lshift lt mod mul ne neg not_ or_
            pos pow rshift sub truediv truth xor
        """,
        "prims": """
            item maximum_value minimum_value
        """,
        "torch": """
            _sym_acos _sym_asin _sym_atan _sym_cos _sym_cosh _sym_log2 _sym_sin _sym_sinh _sym_sqrt _sym_tan
            _sym_tanh sym_constrain_range sym_constrain_range_for_size sym_float sym_fresh_size sym_int sym_ite
            sym_max sym_min sym_not sym_sqrt sym_sum
        """,
    },
    "check": {
        "aten": """
            _assert_async _assert_scalar _assert_tensor_metadata _convolution_mode _cufft_clear_plan_cache
            _cufft_get_plan_cache_max_size _cufft_get_plan_cache_size _cufft_set_plan_cache_max_size
            _debug_has_internal_overlap _functional_assert_async _functional_assert_scalar _fused_sdp_choice
            _has_compatible_shallow_copy_type _has_same_storage_numel _is_zerotensor _linalg_check_errors
            _nested_tensor_from_mask_left_aligned _nnpack_available _print _test_check_tensor _use_cudnn_ctc_loss
            _use_cudnn_rnn_flatten_weight _use_miopen_ctc_loss _validate_compressed_sparse_indices
            _validate_sparse_bsc_tensor_args _validate_sparse_bsr_tensor_args
            _validate_sparse_compressed_tensor_args _validate_sparse_coo_tensor_args
            _validate_sparse_csc_tensor_args _validate_sparse_csr_tensor_args can_cast cudnn_is_acceptable
            is_coalesced is_complex is_conj is_contiguous is_distributed is_floating_point is_inference is_leaf
            is_neg is_nonzero is_pinned is_same_size is_set_to is_signed is_vulkan_available promote_types
            record_stream result_type retains_grad
        """,
        "higher_order": """
            _export_tracepoint print
        """,
        "prims": """
            _make_token _sink_tokens
        """,
        "profiler": """
            _record_function_enter _record_function_enter_new _record_function_exit
        """,
        "torch": """
            _enter_autocast _exit_autocast _set_grad_enabled
        """,
    },
}
"""Kind to namespace to names, without overload; the in-place form `x_` has the kind of `x`."""

KIND_OF: Mapping[str, str] = MappingProxyType(
    {
        f"{namespace}.{name}": kind
        for kind, spaces in _NAMES.items()
        for namespace, names in spaces.items()
        for name in names.split()
    }
)
"""Operator without overload to kind, for every operator that costs no MACs."""

UNKNOWN = "unknown"
"""The kind of an operator without a formula and without an entry here."""


def kind_of(target: str) -> str:
    """The kind of an operator that costs no MACs, or `unknown`; for an operator with a formula, the formula has the kind.

    Args:
        target: the operator, as in `Op.target`, with or without overload; an in-place form has its functional form's kind.
    """
    return next((KIND_OF[name] for name in spellings(target) if name in KIND_OF), UNKNOWN)
