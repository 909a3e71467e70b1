package dev.trivet.model;

import java.util.List;
import java.util.Optional;

/**
 * A part of a model that reads one token buffer and writes the next. A model is run, calibrated and searched unit by unit; names of
 * operators follow from the unit's name.
 */
public sealed interface ModelUnit {
    /** Name of the unit, and of the activation that it gives. */
    String name();

    /** What it reads; of an embedding the image, {@code [channels, imageSize * imageSize]}. */
    TokenShape input();

    /** What it writes; of a head the logits, {@code [1, classes]}. */
    TokenShape output();

    /** Names of the linear layers, in execution order. */
    List<String> linears();

    /** Names of everything that can be quantized, linear layers and products, in execution order. */
    default List<String> operators() {
        return linears();
    }

    /** Patches to tokens. */
    record Embedding(TokenShape input, TokenShape output) implements ModelUnit {
        @Override
        public String name() {
            return "patch_embed";
        }

        @Override
        public List<String> linears() {
            return List.of(VitNames.PATCH_EMBEDDING);
        }
    }

    /**
     * A pre-norm block: attention within groups of tokens (all tokens of a ViT, a window of a Swin), then an MLP on each token.
     *
     * @param shape of its input and output
     * @param heads attention heads; divides the width
     * @param hiddenWidth hidden units of the MLP
     * @param groups groups per image, 1 for a ViT
     * @param groupTokens tokens of a group; {@code groups * groupTokens} exceeds the tokens where windows are padded
     * @param windows how tokens are cut into windows; empty for a ViT
     */
    record Block(
            String name,
            TokenShape shape,
            int heads,
            int hiddenWidth,
            int groups,
            int groupTokens,
            Optional<WindowPartition> windows)
            implements ModelUnit {
        @Override
        public TokenShape input() {
            return shape;
        }

        @Override
        public TokenShape output() {
            return shape;
        }

        @Override
        public List<String> linears() {
            return List.of(qkv(), projection(), hidden(), mlpOutput());
        }

        @Override
        public List<String> operators() {
            return List.of(qkv(), scores(), mixing(), projection(), hidden(), mlpOutput());
        }

        /** Name of the attention module: q, k, v projection, both products, projection. */
        public String attention() {
            return name + ".attn";
        }

        /** Name of the MLP module. */
        public String mlp() {
            return name + ".mlp";
        }

        /** Channels of one head. */
        public int headWidth() {
            return shape.width() / heads;
        }

        /** The LayerNorm before the attention. */
        public String attentionNorm() {
            return name + ".norm1";
        }

        /** The q, k, v projection. */
        public String qkv() {
            return name + ".attn.qkv";
        }

        /** The product of queries and keys; it has no weights, but quantizers. */
        public String scores() {
            return name + ".attn.qk";
        }

        /** The product of attention probabilities and values. */
        public String mixing() {
            return name + ".attn.av";
        }

        /** The linear layer behind the attention. */
        public String projection() {
            return name + ".attn.proj";
        }

        /** The LayerNorm before the MLP. */
        public String mlpNorm() {
            return name + ".norm2";
        }

        /** The first linear layer of the MLP. */
        public String hidden() {
            return name + ".mlp.fc1";
        }

        /** The second linear layer of the MLP. */
        public String mlpOutput() {
            return name + ".mlp.fc2";
        }
    }

    /**
     * Four neighbouring tokens to one, halving both sides of the map (Swin).
     *
     * @param side tokens along one side of the map before it
     */
    record Merging(String name, int side, TokenShape input, TokenShape output) implements ModelUnit {
        @Override
        public List<String> linears() {
            return List.of(reduction());
        }

        /** The LayerNorm of the four joined tokens. */
        public String norm() {
            return name + ".norm";
        }

        /** The linear layer from four joined tokens to one. */
        public String reduction() {
            return name + ".reduction";
        }
    }

    /**
     * Tokens to logits, the final LayerNorm included.
     *
     * @param norm the final LayerNorm, before or after tokens are pooled; what it gives reaches the linear layers through a mean at most
     */
    record Head(TokenShape input, TokenShape output, String norm, List<String> linears) implements ModelUnit {
        /** Copies the list. */
        public Head {
            linears = List.copyOf(linears);
        }

        @Override
        public String name() {
            return "head";
        }
    }
}
