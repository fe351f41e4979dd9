/* SPDX-License-Identifier: Apache-2.0
 * dsl_macros: the pleasant spelling of dsl.h, which includes this. Each adds the caller's file and line, and takes
 * numbers, axes, tensors and strings as they are. At most 12 arguments where a call takes any number. */
#ifndef TGF_DSL_MACROS_H
#define TGF_DSL_MACROS_H

#define TGF_HERE ((TgfSite){__FILE__, __LINE__})

/* Any C value as an argument. */
#define TGF_ARG(x)                                                                                                     \
    _Generic((x),                                                                                                      \
        TgfArg: tgf_arg_same,                                                                                          \
        Tensor: tgf_arg_tensor,                                                                                        \
        Axis: tgf_arg_axis,                                                                                            \
        TgfProgram *: tgf_arg_program,                                                                                 \
        char *: tgf_arg_text,                                                                                          \
        const char *: tgf_arg_text,                                                                                    \
        float: tgf_arg_number,                                                                                         \
        double: tgf_arg_number,                                                                                        \
        default: tgf_arg_integer)(x)

/* TGF_EACH(a, b, c): 3, (const TgfArg[]){TGF_ARG(a), TGF_ARG(b), TGF_ARG(c)} */
#define TGF_EACH(...) TGF_EACH_(__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, )
#define TGF_EACH_(a, b, c, d, e, f, g, h, i, j, k, l, n, ...)                                                          \
    n, (const TgfArg[]) { TGF_EACH_##n(a, b, c, d, e, f, g, h, i, j, k, l, ) }
#define TGF_EACH_1(a, ...) TGF_ARG(a)
#define TGF_EACH_2(a, ...) TGF_ARG(a), TGF_EACH_1(__VA_ARGS__)
#define TGF_EACH_3(a, ...) TGF_ARG(a), TGF_EACH_2(__VA_ARGS__)
#define TGF_EACH_4(a, ...) TGF_ARG(a), TGF_EACH_3(__VA_ARGS__)
#define TGF_EACH_5(a, ...) TGF_ARG(a), TGF_EACH_4(__VA_ARGS__)
#define TGF_EACH_6(a, ...) TGF_ARG(a), TGF_EACH_5(__VA_ARGS__)
#define TGF_EACH_7(a, ...) TGF_ARG(a), TGF_EACH_6(__VA_ARGS__)
#define TGF_EACH_8(a, ...) TGF_ARG(a), TGF_EACH_7(__VA_ARGS__)
#define TGF_EACH_9(a, ...) TGF_ARG(a), TGF_EACH_8(__VA_ARGS__)
#define TGF_EACH_10(a, ...) TGF_ARG(a), TGF_EACH_9(__VA_ARGS__)
#define TGF_EACH_11(a, ...) TGF_ARG(a), TGF_EACH_10(__VA_ARGS__)
#define TGF_EACH_12(a, ...) TGF_ARG(a), TGF_EACH_11(__VA_ARGS__)

/* ---- declarations and statements --------------------------------------------------------------------------------- */
#define tgf_use(p, path) tgf_use_at(TGF_HERE, p, path)
#define tgf_axis(p, name, extent) tgf_axis_at(TGF_HERE, p, name, TGF_ARG(extent))
#define tgf_axis_named(p, name) tgf_axis_named_at(TGF_HERE, p, name)
#define TGF_AXIS(p, x, extent) x = tgf_axis(p, #x, extent) /* Axis TGF_AXIS(p, seq, 128); */
#define tgf_block(p, name) tgf_block_at(TGF_HERE, p, name)
#define tgf_formal(p, name) tgf_formal_at(TGF_HERE, p, name, tgf_arg_none())
#define tgf_formal_or(p, name, fallback) tgf_formal_at(TGF_HERE, p, name, TGF_ARG(fallback))
#define tgf_formal_axis(p, name) tgf_formal_axis_at(TGF_HERE, p, name)
#define tgf_return(p, ...) tgf_return_at(TGF_HERE, p, TGF_EACH(__VA_ARGS__))
#define tgf_model(p, name) tgf_model_at(TGF_HERE, p, name)
#define tgf_repeat(p, axis, as) tgf_repeat_at(TGF_HERE, p, axis, as)
#define tgf_strategy(p, name) tgf_strategy_at(TGF_HERE, p, name)
#define tgf_train(p) tgf_train_at(TGF_HERE, p)
#define tgf_end(p) tgf_end_at(TGF_HERE, p)
#define tgf_input(p, name, type, ...) tgf_input_at(TGF_HERE, p, name, type, TGF_EACH(__VA_ARGS__))
#define tgf_param(p, name, initial, ...) tgf_param_at(TGF_HERE, p, name, TGF_ARG(initial), TGF_EACH(__VA_ARGS__))
#define TGF_FORMAL(p, x) x = tgf_formal(p, #x) /* Tensor TGF_FORMAL(p, x); */
#define TGF_INPUT(p, x, type, ...) x = tgf_input(p, #x, type, __VA_ARGS__)
#define TGF_PARAM(p, x, initial, ...) x = tgf_param(p, #x, initial, __VA_ARGS__)
#define tgf_let(p, name, value) tgf_let_at(TGF_HERE, p, name, TGF_ARG(value))
#define TGF_LET(p, x, value) x = tgf_let(p, #x, value) /* Tensor TGF_LET(p, h, tgf_dot(x, w, width)); */
#define TGF_UNPACK2(p, value, a, b)                                                                                    \
    tgf_unpack_at(TGF_HERE, p, TGF_ARG(value), 2, (const char *const[]){#a, #b}, (Tensor *const[]){&(a), &(b)})
#define TGF_UNPACK3(p, value, a, b, c)                                                                                 \
    tgf_unpack_at(TGF_HERE, p, TGF_ARG(value), 3, (const char *const[]){#a, #b, #c},                                   \
                  (Tensor *const[]){&(a), &(b), &(c)})
#define tgf_line(p, head, ...) tgf_line_at(TGF_HERE, p, head, TGF_EACH(__VA_ARGS__))
#define tgf_setting(p, name, value) tgf_setting_at(TGF_HERE, p, name, TGF_ARG(value))

/* The same with braces, closed behind the last: TGF_REPEAT(p, layer, "h.{layer}") { ... }. Not to be left by break,
 * return or goto. */
#define TGF_BLOCK(p, name) TGF_OPEN_(p, tgf_block(p, name), __LINE__)
#define TGF_MODEL(p, name) TGF_OPEN_(p, tgf_model(p, name), __LINE__)
#define TGF_REPEAT(p, axis, as) TGF_OPEN_(p, tgf_repeat(p, axis, as), __LINE__)
#define TGF_STRATEGY(p, name) TGF_OPEN_(p, tgf_strategy(p, name), __LINE__)
#define TGF_TRAIN(p) TGF_OPEN_(p, tgf_train(p), __LINE__)
#define TGF_OPEN_(p, open, line) TGF_OPEN_AT_(p, open, line)
#define TGF_OPEN_AT_(p, open, line)                                                                                    \
    for (int tgf_open_##line = ((open), 1); tgf_open_##line; tgf_open_##line = 0, tgf_end(p))

/* ---- arguments --------------------------------------------------------------------------------------------------- */
#define tgf_key(key, value) tgf_key_of(key, TGF_ARG(value))
#define tgf_over(axis) tgf_over_of(TGF_ARG(axis))
#define tgf_list(...)                                                                                                  \
    tgf_list_of((int)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)), (const double[]){__VA_ARGS__})

/* ---- expressions ------------------------------------------------------------------------------------------------- */
#define tgf_call(callee, ...) tgf_call_at(TGF_HERE, callee, TGF_EACH(__VA_ARGS__))
#define tgf_as(x, name) tgf_as_at(TGF_HERE, x, name)
#define tgf_stored(x, name, ...) tgf_stored_at(TGF_HERE, x, name, TGF_EACH(__VA_ARGS__))
#define tgf_product(...) tgf_call("*", __VA_ARGS__)
#define tgf_view(x, ...) tgf_view_at(TGF_HERE, x, TGF_EACH(__VA_ARGS__))

#define tgf_add(a, b) tgf_call("+", a, b)
#define tgf_sub(a, b) tgf_call("-", a, b)
#define tgf_mul(a, b) tgf_call("*", a, b)
#define tgf_div(a, b) tgf_call("/", a, b)
#define tgf_neg(a) tgf_call("-", a)
#define tgf_lt(a, b) tgf_call("<", a, b)
#define tgf_le(a, b) tgf_call("<=", a, b)
#define tgf_gt(a, b) tgf_call(">", a, b)
#define tgf_ge(a, b) tgf_call(">=", a, b)
#define tgf_eq(a, b) tgf_call("==", a, b)
#define tgf_ne(a, b) tgf_call("!=", a, b)
#define tgf_and(a, b) tgf_call("and", a, b)
#define tgf_or(a, b) tgf_call("or", a, b)
#define tgf_not(a) tgf_call("not", a)

#define tgf_exp(x) tgf_call("exp", x)
#define tgf_log(x) tgf_call("log", x)
#define tgf_sqrt(x) tgf_call("sqrt", x)
#define tgf_rsqrt(x) tgf_call("rsqrt", x)
#define tgf_tanh(x) tgf_call("tanh", x)
#define tgf_sigmoid(x) tgf_call("sigmoid", x)
#define tgf_softplus(x) tgf_call("softplus", x)
#define tgf_erf(x) tgf_call("erf", x)
#define tgf_sin(x) tgf_call("sin", x)
#define tgf_cos(x) tgf_call("cos", x)
#define tgf_abs(x) tgf_call("abs", x)
#define tgf_maximum(a, b) tgf_call("maximum", a, b)
#define tgf_minimum(a, b) tgf_call("minimum", a, b)
#define tgf_pow(a, b) tgf_call("pow", a, b)
#define tgf_select(condition, a, b) tgf_call("select", condition, a, b)
#define tgf_cast(x, type) tgf_call("cast", x, type)
#define tgf_stop(x) tgf_call("stop", x)

#define tgf_normal(p, deviation) tgf_call("normal", p, deviation)
#define tgf_uniform(p, least, most) tgf_call("uniform", p, least, most)
#define tgf_sum(...) tgf_call("sum", __VA_ARGS__)   /* x, axis, ... */
#define tgf_max(...) tgf_call("max", __VA_ARGS__)   /* x, axis, ... */
#define tgf_mean(...) tgf_call("mean", __VA_ARGS__) /* x, axis, ... */
#define tgf_dot(...) tgf_call("dot", __VA_ARGS__)   /* x, y, axis, ... */
#define tgf_take(...) tgf_call("take", __VA_ARGS__) /* table, ids, axis */
#define tgf_scatter(...) tgf_call("scatter", __VA_ARGS__)
#define tgf_cumsum(x, axis) tgf_call("cumsum", x, axis)
#define tgf_ordinal(x, axis) tgf_call("rank", x, axis)
#define tgf_index(axis) tgf_call("index", axis)
#define tgf_unstack(x, axis) tgf_call("unstack", x, axis)
#define tgf_stack(...) tgf_call("stack", __VA_ARGS__)
#define tgf_concat(...) tgf_call("concat", __VA_ARGS__)
#define tgf_slice(...) tgf_call("slice", __VA_ARGS__)
#define tgf_random(...) tgf_call("random", __VA_ARGS__)
/* q, k, v, feature, tgf_over(key), tgf_key("scale", s), ... */
#define tgf_attend(...) tgf_call("attend", __VA_ARGS__)
#define tgf_causal(query, key) tgf_call("causal", query, key)
#endif
