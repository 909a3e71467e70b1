package dev.trivet.model;

/** timm's names for the tensors of a ViT; Trivet uses them everywhere, in files, plans and reports. */
public final class VitNames {
    /** {@code [1, 1, width]}. */
    public static final String CLASS_TOKEN = "cls_token";
    /** {@code [1, 1, width]}, of distilled DeiTs. */
    public static final String DISTILLATION_TOKEN = "dist_token";
    /** {@code [1, tokens, width]}; some checkpoints hold those of the patches only. */
    public static final String POSITIONS = "pos_embed";
    /** The linear layer from a patch's pixels to a token; a convolution in checkpoints. */
    public static final String PATCH_EMBEDDING = "patch_embed.proj";
    /** The classifier. */
    public static final String HEAD = "head";
    /** A layer with tanh before the head. */
    public static final String PRE_LOGITS = "pre_logits.fc";
    /** Checkpoints only: on reading, register tokens become part of the positions. */
    static final String REGISTERS = "reg_token";

    /** The classifier of the distillation token; logits are the mean of both. */
    public static final String DISTILLATION_HEAD = "head_dist";

    private VitNames() {}

    /** A block, counted from 0; prefix of the names of all that is in it. */
    public static String block(int index) {
        return "blocks." + index;
    }

    /** The q, k, v projection of a block. */
    public static String qkv(int block) {
        return block(block) + ".attn.qkv";
    }

    /** The linear layer behind the attention of a block. */
    public static String projection(int block) {
        return block(block) + ".attn.proj";
    }

    /** The first linear layer of a block's MLP. */
    public static String hidden(int block) {
        return block(block) + ".mlp.fc1";
    }

    /** The second linear layer of a block's MLP. */
    public static String output(int block) {
        return block(block) + ".mlp.fc2";
    }

    /** The product of queries and keys; it has no weights, but quantizers. */
    public static String scores(int block) {
        return block(block) + ".attn.qk";
    }

    /** The product of attention probabilities and values. */
    public static String mixing(int block) {
        return block(block) + ".attn.av";
    }

    /** The LayerNorm before a block's attention. */
    public static String attentionNorm(int block) {
        return block(block) + ".norm1";
    }

    /** The LayerNorm before a block's MLP. */
    public static String mlpNorm(int block) {
        return block(block) + ".norm2";
    }

    /** Layer scale behind the attention; checkpoints only: on reading, it becomes part of the projection. */
    static String attentionScale(int block) {
        return block(block) + ".ls1.gamma";
    }

    /** Layer scale behind the MLP; checkpoints only. */
    static String mlpScale(int block) {
        return block(block) + ".ls2.gamma";
    }

    /** The last LayerNorm: {@code fc_norm} after average pooling, else {@code norm}. */
    public static String finalNorm(VitConfig config) {
        return config.pooling() == Pooling.AVERAGE ? "fc_norm" : "norm";
    }

    /** Whether a linear layer belongs to the head. */
    public static boolean isOfHead(String linear) {
        return linear.equals(HEAD) || linear.equals(DISTILLATION_HEAD) || linear.equals(PRE_LOGITS);
    }

    /** The linear layer that reads the last LayerNorm. */
    public static String firstOfHead(VitConfig config) {
        return config.preLogits() > 0 ? PRE_LOGITS : HEAD;
    }
}
