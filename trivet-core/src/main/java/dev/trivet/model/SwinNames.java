package dev.trivet.model;

/** timm's names for the tensors of a Swin Transformer; Trivet uses them everywhere, in files, plans and reports. */
public final class SwinNames {
    /** The LayerNorm behind the patch embedding. */
    public static final String PATCH_EMBEDDING_NORM = "patch_embed.norm";
    /** {@code [1, patches, width]}, of models with absolute positions. */
    public static final String POSITIONS = "absolute_pos_embed";
    /** The LayerNorm before the mean of all tokens. */
    public static final String FINAL_NORM = "norm";
    /** The classifier. */
    public static final String HEAD = "head.fc";

    private SwinNames() {}

    /** A block of a stage, both counted from 0; prefix of the names of all that is in it. */
    public static String block(int stage, int block) {
        return "layers." + stage + ".blocks." + block;
    }

    /** The patch merging that leads into a stage, 1 or later. */
    public static String merging(int stage) {
        return "layers." + stage + ".downsample";
    }

    /** {@code [(2 window - 1)^2, heads]} of a block. */
    public static String relativePositions(String block) {
        return block + ".attn.relative_position_bias_table";
    }
}
