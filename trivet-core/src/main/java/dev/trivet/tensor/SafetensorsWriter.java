package dev.trivet.tensor;

import dev.trivet.AtomicOutput;
import java.io.IOException;
import java.io.StringWriter;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/**
 * Writes safetensors files that are the same, byte for byte, for the same content: tensors ordered by falling element size,
 * then name, so that each starts aligned; metadata by key; the header padded with spaces to 8 bytes.
 */
public final class SafetensorsWriter {
    private static final Comparator<Tensor> ORDER =
            Comparator.comparingInt((Tensor t) -> -t.dtype().bytes()).thenComparing(Tensor::name);
    /** Memory on the heap is copied on its way out, so this bounds what a write needs. */
    private static final int CHUNK = 1 << 20;

    private SafetensorsWriter() {}

    /**
     * Writes the file, or leaves what was there.
     *
     * @throws dev.trivet.BadInputException if it cannot be written
     * @throws IllegalArgumentException if the format cannot hold it: two tensors share a name or one is named
     *     {@code __metadata__}, a text is not Unicode, or the header is longer than the format allows
     */
    public static void write(Path file, Collection<Tensor> tensors, Map<String, String> metadata) {
        List<Tensor> ordered = tensors.stream().sorted(ORDER).toList();
        if (ordered.stream().map(Tensor::name).distinct().count() != ordered.size()) {
            throw new IllegalArgumentException("two tensors share a name");
        }
        ordered.forEach(tensor -> checkText(tensor.name()));
        metadata.forEach((key, value) -> {
            checkText(key);
            checkText(value);
        });
        if (ordered.stream().anyMatch(t -> t.name().equals(SafetensorsHeader.METADATA))) {
            throw new IllegalArgumentException("no tensor may be named " + SafetensorsHeader.METADATA);
        }
        byte[] header = header(ordered, metadata);
        if (header.length > SafetensorsHeader.LONGEST) {
            throw new IllegalArgumentException("names and metadata take " + header.length + " bytes");
        }
        AtomicOutput.write(file, channel -> {
            ByteBuffer length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
            writeFully(channel, length.putLong(header.length).flip());
            writeFully(channel, ByteBuffer.wrap(header));
            for (Tensor tensor : ordered) {
                writeSegment(channel, tensor.data());
            }
        });
    }

    private static void checkText(String text) {
        if (!SafetensorsHeader.isUnicode(text)) {
            throw new IllegalArgumentException("half a surrogate pair in " + text);
        }
    }

    private static byte[] header(List<Tensor> tensors, Map<String, String> metadata) {
        StringWriter text = new StringWriter();
        try (JsonGenerator json = new JsonFactory().createGenerator(ObjectWriteContext.empty(), text)) {
            json.writeStartObject();
            if (!metadata.isEmpty()) {
                json.writeObjectPropertyStart(SafetensorsHeader.METADATA);
                new TreeMap<>(metadata).forEach(json::writeStringProperty);
                json.writeEndObject();
            }
            long offset = 0;
            for (Tensor tensor : tensors) {
                json.writeObjectPropertyStart(tensor.name());
                json.writeStringProperty("dtype", tensor.dtype().name());
                json.writeArrayPropertyStart("shape");
                tensor.shape().forEach(json::writeNumber);
                json.writeEndArray();
                json.writeArrayPropertyStart("data_offsets");
                json.writeNumber(offset);
                offset += tensor.data().byteSize();
                json.writeNumber(offset);
                json.writeEndArray();
                json.writeEndObject();
            }
            json.writeEndObject();
        }
        byte[] bytes = text.toString().getBytes(StandardCharsets.UTF_8);
        byte[] padded = java.util.Arrays.copyOf(bytes, (bytes.length + 7) / 8 * 8);
        java.util.Arrays.fill(padded, bytes.length, padded.length, (byte) ' ');
        return padded;
    }

    private static void writeSegment(FileChannel channel, MemorySegment data) throws IOException {
        for (long at = 0; at < data.byteSize(); at += CHUNK) {
            writeFully(channel, buffer(data.asSlice(at, Math.min(CHUNK, data.byteSize() - at))));
        }
    }

    /** Only memory outside the heap and byte arrays can be seen as a buffer; the rest is copied. */
    private static ByteBuffer buffer(MemorySegment bytes) {
        boolean seen = bytes.isNative()
                || bytes.heapBase().filter(byte[].class::isInstance).isPresent();
        return seen ? bytes.asByteBuffer() : ByteBuffer.wrap(bytes.toArray(ValueLayout.JAVA_BYTE));
    }

    private static void writeFully(FileChannel channel, ByteBuffer buffer) throws IOException {
        while (buffer.hasRemaining()) {
            channel.write(buffer);
        }
    }
}
