package dev.trivet.kernel;

import java.lang.foreign.MemorySegment;

/**
 * Everything between two products, one fused pass each: it takes the raw result of one product and leaves the operand of the
 * next. {@code ReferencePointwise} defines the results; every provider equals it bit for bit, because sums run in a fixed
 * striped order (see there) and {@code exp} and {@code erf} are polynomials of explicit fused multiply-adds.
 *
 * <p>An operand is written as float32 or as one byte per element, as its {@link Operand} says, which also says how far apart its rows are; only
 * {@link #encode} knows operands that equalize channels. Instances belong to one
 * workspace and so to one thread.
 */
public interface Pointwise {
    /**
     * Writes {@code x} as an operand.
     *
     * @param x float32 {@code [count]}; whole rows where the operand equalizes channels
     */
    void encode(MemorySegment x, int count, Operand operand, MemorySegment out);

    /** LayerNorm of rows that follow each other. */
    default void layerNorm(
            MemorySegment x,
            int rows,
            int width,
            MemorySegment gamma,
            MemorySegment beta,
            float epsilon,
            Operand operand,
            MemorySegment out) {
        layerNorm(x, width, rows, width, gamma, beta, epsilon, operand, out);
    }

    /**
     * LayerNorm over the last dimension.
     *
     * @param x float32 {@code [rows, stride]}, of which {@code width} are read
     * @param gamma float32 {@code [width]}
     * @param beta float32 {@code [width]}
     * @param out {@code [rows, width]}
     */
    void layerNorm(
            MemorySegment x,
            int stride,
            int rows,
            int width,
            MemorySegment gamma,
            MemorySegment beta,
            float epsilon,
            Operand operand,
            MemorySegment out);

    /**
     * {@code out = value}.
     *
     * @param raw {@code [rows, columns]} of a linear
     * @param out float32 {@code [rows, columns]}
     */
    void decode(MemorySegment raw, int rows, Product product, MemorySegment out);

    /** {@code residual += value} where its rows follow each other. */
    default void addTo(MemorySegment raw, int rows, Product product, MemorySegment residual) {
        addTo(raw, rows, product, residual, product.columns());
    }

    /**
     * {@code residual += value}.
     *
     * @param raw {@code [rows, columns]} of a linear
     * @param residual float32 {@code [rows, stride]}, of which {@code columns} are added to
     */
    void addTo(MemorySegment raw, int rows, Product product, MemorySegment residual, int stride);

    /**
     * {@code out = GELU(value)}: {@code x Phi(x)} to 1e-6, and also to 1e-6 where the operand is bytes, in steps of which it is computed.
     *
     * @param raw {@code [rows, columns]} of a linear
     * @param out {@code [rows, columns]}
     */
    void gelu(MemorySegment raw, int rows, Product product, Operand operand, MemorySegment out);

    /**
     * {@code out = GELU(values)}.
     *
     * @param values float32 {@code [count]}
     * @param out {@code [count]}
     */
    default void gelu(MemorySegment values, int count, Operand operand, MemorySegment out) {
        gelu(values, count, 1, count, operand, out, 0, count);
    }

    /**
     * {@code out = GELU(values)} for some columns of wider rows.
     *
     * @param values float32 {@code [rows, valueStride]}, of which {@code columns} are read
     * @param out {@code [rows, stride]}, of which {@code columns} from the first one on are written
     */
    void gelu(
            MemorySegment values,
            int valueStride,
            int rows,
            int columns,
            Operand operand,
            MemorySegment out,
            int first,
            int stride);

    /**
     * Codes of queries, keys and values.
     *
     * @param raw int32 {@code [rows, columns]} of a linear
     * @param out signed bytes {@code [rows, columns]}, {@link Requantization#stride} apart
     */
    void requantize(MemorySegment raw, int rows, Requantization requantization, MemorySegment out);

    /**
     * Splits codes of queries, keys and values into heads.
     *
     * @param codes bytes {@code [images * rows, 3 * heads * headWidth]}, q first
     * @param query bytes {@code [images, heads, rows, headWidth]}
     * @param key bytes {@code [images, heads, tokens, headWidth]}, from the first row at hand on; {@code value} alike
     */
    void splitHeads(
            MemorySegment codes, AttentionShape shape, MemorySegment query, MemorySegment key, MemorySegment value);

    /**
     * Splits codes of queries, keys and values into windows and heads; a padded position's are those of the bias.
     *
     * @param codes bytes {@code [images * tokens, 3 * heads * headWidth]}, q first, the rows at hand
     * @param product whose bias it is
     * @param query bytes {@code [images, windows, heads, windowTokens, headWidth]}; {@code key} and {@code value} alike
     */
    void splitWindowCodes(
            MemorySegment codes,
            WindowShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value);

    /**
     * Splits the q, k, v projection into heads.
     *
     * @param raw {@code [images * rows, 3 * heads * headWidth]}, q first
     * @param query {@code [images, heads, rows, headWidth]}
     * @param key {@code [images, heads, tokens, headWidth]}, from the first row at hand on; {@code value} alike
     */
    void splitHeads(
            MemorySegment raw,
            AttentionShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value);

    /**
     * Softmax over the last dimension of {@code raw * scale}.
     *
     * @param raw int32 or float32 {@code [rows, stride]} of a matmul, of which the first columns are read
     * @param stride elements from one row to the next, of {@code raw} and of {@code out}
     * @param scale positive
     * @param out {@code [rows, stride]}; zeros behind the columns
     */
    void softmax(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            int stride,
            float scale,
            Operand operand,
            MemorySegment out);

    /** The same for rows that follow each other. */
    default void softmax(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            float scale,
            Operand operand,
            MemorySegment out) {
        softmax(raw, integer, rows, columns, columns, scale, operand, out);
    }

    /**
     * The numerators of softmax, as codes: {@code code(exp(x - max(x)))} with {@code x = raw * scale}, so that each row reaches
     * from 0 to 1 however its probabilities are spread, and for each row the factor that makes its codes sum to one.
     *
     * @param raw int32 or float32 {@code [rows, stride]} of a matmul, of which the first columns are read
     * @param stride elements from one row to the next, of {@code raw} and of {@code out}
     * @param operand an integer quantizer with zero point 0
     * @param out {@code [rows, stride]}; zeros behind the columns
     * @param factors float32 {@code [rows]}: {@code 1 / sum(codes)}
     */
    void softmaxNumerators(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            int stride,
            float scale,
            Operand operand,
            MemorySegment out,
            MemorySegment factors);

    /** The same for rows that follow each other. */
    default void softmaxNumerators(
            MemorySegment raw,
            boolean integer,
            int rows,
            int columns,
            float scale,
            Operand operand,
            MemorySegment out,
            MemorySegment factors) {
        softmaxNumerators(raw, integer, rows, columns, columns, scale, operand, out, factors);
    }

    /**
     * Joins the heads of {@code raw * (scale * factor of the row)}.
     *
     * @param raw int32 {@code [images, heads, rows, headWidth]} of a matmul
     * @param factors float32 {@code [images, heads, rows]}
     * @param out {@code [images * rows, heads * headWidth]}
     */
    void mergeNormalizedHeads(
            MemorySegment raw,
            AttentionShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out);

    /**
     * Joins the heads of {@code raw * scale}.
     *
     * @param raw int32 or float32 {@code [images, heads, rows, headWidth]} of a matmul
     * @param out {@code [images * rows, heads * headWidth]}
     */
    void mergeHeads(
            MemorySegment raw, boolean integer, AttentionShape shape, float scale, Operand operand, MemorySegment out);

    /**
     * Splits the q, k, v projection into windows and heads. A padded position is zero before the projection, so its value is the
     * bias.
     *
     * @param raw {@code [images * tokens, 3 * heads * headWidth]}, q first, the rows at hand
     * @param query {@code [images, windows, heads, windowTokens, headWidth]}; {@code key} and {@code value} alike
     */
    void splitWindows(
            MemorySegment raw,
            WindowShape shape,
            Product product,
            AttentionOperands operands,
            MemorySegment query,
            MemorySegment key,
            MemorySegment value);

    /**
     * Softmax over the last dimension of {@code raw * scale + relative}, one fused multiply-add, {@code + mask} in masked windows;
     * or its numerators, as {@link #softmaxNumerators} gives them: a masked position then has the code 0.
     *
     * @param raw int32 or float32 {@code [images, windows, heads, windowTokens, windowTokens]} of a matmul, the products at hand
     * @param scale positive
     * @param out shaped as {@code raw}
     * @param factors float32 {@code [images, windows, heads, windowTokens]}, of the products at hand; {@link MemorySegment#NULL} asks for probabilities
     */
    void softmaxWindows(
            MemorySegment raw,
            boolean integer,
            WindowShape shape,
            float scale,
            ScoreBias bias,
            Operand operand,
            MemorySegment out,
            MemorySegment factors);

    /**
     * Joins the heads of {@code raw * scale}, or {@code raw * (factor of the row * scale)}, and puts each token back where it came
     * from; padding is dropped.
     *
     * @param raw int32 or float32 {@code [images, windows, heads, windowTokens, headWidth]} of a matmul
     * @param factors float32 {@code [images, windows, heads, windowTokens]}; {@link MemorySegment#NULL} for none
     * @param out {@code [images * tokens, heads * headWidth]}, the rows at hand
     */
    void mergeWindows(
            MemorySegment raw,
            boolean integer,
            WindowShape shape,
            float scale,
            MemorySegment factors,
            Operand operand,
            MemorySegment out);

    /** Mean over rows that follow each other. */
    default void meanRows(MemorySegment x, int rows, int width, MemorySegment out) {
        meanRows(x, width, rows, width, out);
    }

    /**
     * Mean over rows.
     *
     * @param x float32 {@code [rows, stride]}, of which {@code width} are read
     * @param out float32 {@code [width]}
     */
    void meanRows(MemorySegment x, int stride, int rows, int width, MemorySegment out);
}
