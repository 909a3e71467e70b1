package dev.trivet.model;

/** timm's names for the tensors of a Swin Transformer; Trivet uses them everywhere, in files, plans and reports. */
public final class SwinNames {
    public static final String PATCH_EMBEDDING_NORM = "patch_embed.norm";
    public static final String POSITIONS = "absolute_pos_embed";
    public static final String FINAL_NORM = "norm";
    public static final String HEAD = "head.fc";

    private SwinNames() {}

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
