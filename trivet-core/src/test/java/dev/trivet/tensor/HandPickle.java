package dev.trivet.tensor;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** Pickle bytes put together opcode by opcode. */
final class HandPickle {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    private HandPickle() {}

    static HandPickle protocol(int protocol) {
        return new HandPickle().op(0x80, protocol);
    }

    /** A pickle of {@code {NAME: tensor}}, one float32 tensor of two elements per name, all of storage 0. */
    static HandPickle stateDict(String... names) {
        HandPickle pickle = protocol(2).op('}', '(');
        for (String name : names) {
            pickle.text(name).tensor("0", 2, 0, new int[] {2}, new int[] {1});
        }
        return pickle.op('u');
    }

    HandPickle op(int... codes) {
        for (int code : codes) {
            out.write(code);
        }
        return this;
    }

    HandPickle raw(byte[] bytes) {
        out.writeBytes(bytes);
        return this;
    }

    HandPickle ascii(String text) {
        return raw(text.getBytes(StandardCharsets.US_ASCII));
    }

    HandPickle u32(long value) {
        return raw(ByteBuffer.allocate(4)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putInt((int) value)
                .array());
    }

    HandPickle u64(long value) {
        return raw(ByteBuffer.allocate(8)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(value)
                .array());
    }

    /** BINUNICODE. */
    HandPickle text(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        return op('X').u32(bytes.length).raw(bytes);
    }

    /** BININT. */
    HandPickle number(int value) {
        return op('J').u32(value);
    }

    /** LONG1 of eight bytes. */
    HandPickle wide(long value) {
        return op(0x8a, 8).u64(value);
    }

    HandPickle global(String module, String name) {
        return op('c').ascii(module + "\n" + name + "\n");
    }

    /** A persistent id: {@code ("storage", torch.FloatStorage, key, "cpu", elements)}. */
    HandPickle storage(String key, long elements) {
        return op('(').text("storage")
                .global("torch", "FloatStorage")
                .text(key)
                .text("cpu")
                .wide(elements)
                .op('t', 'Q');
    }

    /** A call of {@code torch._utils._rebuild_tensor_v2}. */
    HandPickle tensor(String key, long elements, long offset, int[] shape, int[] strides) {
        return global("torch._utils", "_rebuild_tensor_v2")
                .op('(')
                .storage(key, elements)
                .wide(offset)
                .tuple(shape)
                .tuple(strides)
                .op(0x89)
                .global("collections", "OrderedDict")
                .op(')', 'R', 't', 'R');
    }

    HandPickle tuple(int... values) {
        op('(');
        for (int value : values) {
            number(value);
        }
        return op('t');
    }

    /** With STOP at the end. */
    byte[] bytes() {
        byte[] body = out.toByteArray();
        byte[] whole = java.util.Arrays.copyOf(body, body.length + 1);
        whole[body.length] = '.';
        return whole;
    }
}
