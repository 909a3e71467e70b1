package dev.trivet.kernel;

/** The forms in which the two attention products read q, k and v. */
public record AttentionOperands(Operand query, Operand key, Operand value) {
    /** All three as float32. */
    public static final AttentionOperands FLOAT = new AttentionOperands(Operand.FLOAT, Operand.FLOAT, Operand.FLOAT);
}
